// Random and converted numbers in all element types. Used by the dense tests.
using System;

namespace FusedAttention.Tests.Support;

internal static class Numbers
{
    /// <summary>Normal numbers with deviation 1 that <typeparamref name="T"/> holds exactly.</summary>
    public static float[] Normal<T>(Random random, long count)
        where T : unmanaged
    {
        float[] values = new float[count];
        for (int i = 0; i < values.Length; ++i)
        {
            double radius = Math.Sqrt(-2 * Math.Log(1 - random.NextDouble()));
            values[i] = (float)(radius * Math.Cos(2 * Math.PI * random.NextDouble()));
        }

        double[] rounded = ToDouble<T>(From<T>(values));
        return Array.ConvertAll(rounded, x => (float)x);
    }

    /// <summary>The numbers in another type.</summary>
    public static T[] From<T>(ReadOnlySpan<float> values)
        where T : unmanaged
    {
        var converted = new T[values.Length];
        for (int i = 0; i < values.Length; ++i)
        {
            converted[i] = Convert<T>(values[i]);
        }

        return converted;
    }

    /// <summary>The numbers as doubles.</summary>
    public static double[] ToDouble<T>(ReadOnlySpan<T> values)
        where T : unmanaged
    {
        double[] converted = new double[values.Length];
        for (int i = 0; i < values.Length; ++i)
        {
            converted[i] = values[i] switch
            {
                float number => number,
                Half number => (double)number,
                BFloat16 number => number,
                _ => throw new NotSupportedException(typeof(T).Name),
            };
        }

        return converted;
    }

    /// <summary>Some rows of every head of [H, length, width] into [H, count, width].</summary>
    public static void CopyRows<T>(T[] from, T[] to, int length, int first, int count, int width)
    {
        for (int head = 0; head < to.Length / (count * width); ++head)
        {
            Array.Copy(from, ((head * length) + first) * width, to, head * count * width, count * width);
        }
    }

    private static T Convert<T>(float value)
        where T : unmanaged =>
        default(T) switch
        {
            float => (T)(object)value,
            Half => (T)(object)(Half)value,
            BFloat16 => (T)(object)(BFloat16)value,
            _ => throw new NotSupportedException(typeof(T).Name),
        };
}
