// The public surface changes only together with its list, and is the same for every target framework.
using System.IO;
using FusedAttention.Tests.Support;
using NUnit.Framework;

namespace FusedAttention.Tests;

[TestFixture]
internal sealed class PublicApiTests
{
    [Test]
    public void The_public_surface_is_the_listed_one()
    {
        string listed = Path.Combine(Repository.Root, "src", "FusedAttention", "PublicApi.txt");
        string actual = PublicApi.Dump(typeof(DenseAttention).Assembly);
        if (File.Exists(listed) && File.ReadAllText(listed) == actual)
        {
            return;
        }

        string written = Path.Combine(TestContext.CurrentContext.WorkDirectory, "PublicApi.actual.txt");
        File.WriteAllText(written, actual);
        Assert.Fail($"The public surface differs from its list. If that is meant: cp {written} {listed}");
    }
}
