// Compares results with the truth and says where they differ most. Used by the dense tests.
using System;
using NUnit.Framework;

namespace FusedAttention.Tests.Support;

internal static class Expect
{
    /// <summary>Largest error allowed, as a share of the largest magnitude of the truth (at least 1).</summary>
    /// <remarks>
    /// These tests prove that the right numbers reach the right places; how exact kernels are is proven by the native
    /// suite. f32: sums of some hundred terms; 16-bit types: a few units of the last place of inputs, weights and
    /// output.
    /// </remarks>
    public static double Tolerance<T>() =>
        typeof(T) == typeof(float) ? 2e-5 : typeof(T) == typeof(Half) ? 4e-3 : 3e-2;

    /// <summary>Every part that the truth has.</summary>
    public static void Same<T>(DenseResult found, DenseResult truth, bool withGradients = false)
    {
        double tolerance = Tolerance<T>();
        Near("output", found.Output, truth.Output, tolerance);
        Near("lse", found.Lse, truth.Lse, tolerance);
        if (withGradients)
        {
            Near("gradQuery", found.GradQuery, truth.GradQuery, tolerance);
            Near("gradKey", found.GradKey, truth.GradKey, tolerance);
            Near("gradValue", found.GradValue, truth.GradValue, tolerance);
            Near("gradBias", found.GradBias, truth.GradBias, tolerance);
            Near("gradSinkLogits", found.GradSinkLogits, truth.GradSinkLogits, tolerance);
        }
    }

    /// <summary>All numbers within a tolerance; infinities must be the same.</summary>
    public static void Near(
        string name, ReadOnlySpan<double> found, ReadOnlySpan<double> truth, double tolerance)
    {
        Assert.That(found.Length, Is.EqualTo(truth.Length), name);
        double worst = 0, size = 1;
        int at = -1;
        for (int i = 0; i < truth.Length; ++i)
        {
            bool isExact = found[i] == truth[i];
            double error = isExact ? 0 : Math.Abs(found[i] - truth[i]);
            if (!(error <= worst))
            {
                worst = double.IsNaN(error) ? double.PositiveInfinity : error;
                at = i;
            }

            if (double.IsFinite(truth[i]))
            {
                size = Math.Max(size, Math.Abs(truth[i]));
            }
        }

        if (at >= 0 && !(worst <= tolerance * size))
        {
            Assert.Fail(
                $"{name}[{at}] is {found[at]}, expected {truth[at]}: error {worst:g3}, allowed {tolerance * size:g3}");
        }
    }
}
