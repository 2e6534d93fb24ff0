// The examples of the README that end early on a machine without a GPU.
using System.Linq;
using Microsoft.CodeAnalysis.CSharp;
using NUnit.Framework;

namespace FusedAttention.Tests.Gpu;

[TestFixture]
internal sealed class ReadmeOnGpuTests : GpuTest
{
    [Test]
    public void Examples_of_gpus_run_to_their_ends()
    {
        NeedVirtual(); // the README stays at home where the suite is carried to a GPU
        string[] blocks = [.. ReadmeTests.Blocks().Where(block => block.Contains("CudaDevice."))];
        Assert.That(blocks, Has.Length.GreaterThanOrEqualTo(2));
        foreach (string block in blocks)
        {
            ReadmeTests.Run(block, LanguageVersion.Latest);
        }
    }
}
