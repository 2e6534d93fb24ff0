// Seeded mutation fuzzing of the tool's readers: damaged input is refused by their own exception, in bounded memory.
using System;
using System.IO;
using System.Text;
using FusedAttention.Cli;
using FusedAttention.Cli.Imaging;
using FusedAttention.Cli.Problems;
using FusedAttention.Cli.Safetensors;
using NUnit.Framework;

namespace FusedAttention.Tests.Cli;

[TestFixture]
internal sealed class ReaderFuzzTests
{
    private const int NumMutations = 100_000;
    private const int Seed = 20261;
    private const int MaxBytesPerRead = 4 << 20;

    private static readonly string[] Tokens =
    [
        "{", "}", "[", "]", ",", ":", "\"", "null", "true", "-1", "1e999", "0.5", "18446744073709551616",
        "\\u0000", "\\ud800", "\"dtype\"", "\"shape\"", "\"data_offsets\"", "\"F16\"", "\"__metadata__\"",
        "9223372036854775807", "/**/", "\uFEFF", "\"causal\"", "\"family\"", "\"window\"", "[1,2,3]", "00",
    ];

    [Test]
    public void Safetensors_reader_survives_mutations()
    {
        string header = """
            {"__metadata__":{"k":"v"},"q":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},
            "s":{"dtype":"U8","shape":[],"data_offsets":[8,9]},"e":{"dtype":"BF16","shape":[0,3],"data_offsets":[9,9]},
            "k":{"dtype":"I64","shape":[1],"data_offsets":[9,17]}}
            """;
        Fuzz(TensorFileBuilder.Make(header, 17), static bytes =>
        {
            using SafetensorsReader reader = new(new MemoryStream(bytes), "fuzz");
            foreach (TensorEntry entry in reader.Tensors.Values)
            {
                reader.Read(entry, static (_, _) => { });
            }
        });
    }

    [Test]
    public void Problem_reader_survives_mutations([Values] bool dense)
    {
        string text = dense
            ? """{"family":"dense","causal":true,"causal_alignment":"top_left","window":[3,-1],"softcap":2}"""
            : """{"family":"neighborhood","grid":[8,9],"kernel_size":[3,4],"stride":[1,2],"causal":[true,false]}""";
        Fuzz(Encoding.UTF8.GetBytes(text), static bytes => ProblemReader.Read(bytes, "fuzz"));
    }

    [Test]
    public void Png_reader_survives_mutations()
    {
        Raster picture = new(5, 4, 3);
        new Random(Seed).NextBytes(picture.Pixels);
        using MemoryStream file = new();
        PngWriter.Write(file, picture);
        Fuzz(file.ToArray(), static bytes => PngReader.Read(FixChecksums(bytes), "fuzz"));
    }

    private static void Fuzz(byte[] original, Action<byte[]> read)
    {
        Random random = new(Seed);
        int accepted = 0;
        read(original);
        for (int round = 0; round < NumMutations; ++round)
        {
            byte[] mutated = Mutate(original, random);
            long before = GC.GetAllocatedBytesForCurrentThread();
            try
            {
                read(mutated);
                ++accepted;
            }
            catch (BadInputException error)
            {
                if (error.Message.AsSpan().ContainsAny('\n', '\r'))
                {
                    Assert.Fail($"round {round}: the message has more than one line: {error.Message}");
                }
            }
            catch (Exception error)
            {
                Assert.Fail($"seed {Seed}, round {round}, input {Convert.ToBase64String(mutated)}: {error}");
            }

            long allocated = GC.GetAllocatedBytesForCurrentThread() - before;
            if (allocated > MaxBytesPerRead)
            {
                Assert.Fail(
                    $"seed {Seed}, round {round}: {mutated.Length} bytes of input took {allocated} bytes of memory");
            }
        }

        Assert.That(accepted, Is.InRange(1, NumMutations / 2), "the mutations are neither all harmless nor all fatal");
    }

    private static byte[] Mutate(byte[] original, Random random)
    {
        byte[] bytes = (byte[])original.Clone();
        int count = random.Next(1, 4);
        for (int i = 0; i < count; ++i)
        {
            int at = random.Next(bytes.Length);
            bytes = random.Next(7) switch
            {
                0 => Replace(bytes, at, 1, [(byte)random.Next(256)]),
                1 => Replace(bytes, at, 1, [(byte)(bytes[at] ^ (1 << random.Next(8)))]),
                2 => Replace(bytes, at, random.Next(1, 9), []),
                3 => Replace(bytes, at, 0, bytes.AsSpan(at, Math.Min(random.Next(1, 40), bytes.Length - at))),
                4 => Replace(bytes, at, 0, Encoding.UTF8.GetBytes(Tokens[random.Next(Tokens.Length)])),
                5 => Replace(bytes, at, random.Next(1, 9), Encoding.UTF8.GetBytes(Tokens[random.Next(Tokens.Length)])),
                _ => bytes[..Math.Max(1, random.Next(bytes.Length))],
            };
            if (bytes.Length == 0)
            {
                bytes = [0];
            }
        }

        return bytes;
    }

    private static byte[] Replace(byte[] bytes, int at, int count, ReadOnlySpan<byte> with)
    {
        int end = Math.Min(at + count, bytes.Length);
        return [.. bytes.AsSpan(0, at), .. with, .. bytes.AsSpan(end)];
    }

    // Makes the checksums of all whole chunks right, so that mutations reach what lies behind them.
    private static byte[] FixChecksums(byte[] file)
    {
        for (int at = 8; at + 12 <= file.Length;)
        {
            int length = (file[at] << 24) | (file[at + 1] << 16) | (file[at + 2] << 8) | file[at + 3];
            if (length < 0 || length > file.Length - at - 12)
            {
                break;
            }

            uint crc = PngFormat.Crc(file.AsSpan(at + 4, 4), file.AsSpan(at + 8, length));
            for (int i = 0; i < 4; ++i)
            {
                file[at + 8 + length + i] = (byte)(crc >> (24 - (8 * i)));
            }

            at += 12 + length;
        }

        return file;
    }
}
