// The counter-based generator that dropout is defined by, written out once more. Used by DenseTruth.
using System;

namespace FusedAttention.Tests.Support;

/// <summary>Philox4x32 with ten rounds (Salmon et al. 2011).</summary>
internal static class Philox
{
    private const ulong FirstMultiplier = 0xD2511F53, SecondMultiplier = 0xCD9E8D57;
    private const uint FirstStep = 0x9E3779B9, SecondStep = 0xBB67AE85;

    /// <summary>Four random words of a counter and a key.</summary>
    public static (uint, uint, uint, uint) Words(uint c0, uint c1, uint c2, uint c3, ulong key)
    {
        uint k0 = (uint)key, k1 = (uint)(key >> 32);
        for (int round = 0; round < 10; ++round)
        {
            ulong a = FirstMultiplier * c0, b = SecondMultiplier * c2;
            (c0, c1, c2, c3) = ((uint)(b >> 32) ^ c1 ^ k0, (uint)b, (uint)(a >> 32) ^ c3 ^ k1, (uint)a);
            k0 = unchecked(k0 + FirstStep);
            k1 = unchecked(k1 + SecondStep);
        }

        return (c0, c1, c2, c3);
    }

    /// <summary>Whether the weight of a pair survives dropout with probability <paramref name="p"/>.</summary>
    public static bool Keeps(long entryTimesHeadsPlusHead, long query, long key, double p, ulong seed, ulong offset)
    {
        long group = Math.DivRem(key, 4, out long place);
        (uint w0, uint w1, uint w2, uint w3) = Words(
            (uint)group, (uint)query, (uint)entryTimesHeadsPlusHead, (uint)offset, seed);
        uint word = place switch { 0 => w0, 1 => w1, 2 => w2, _ => w3 };
        return word >= Math.Floor(p * 4294967296.0);
    }
}
