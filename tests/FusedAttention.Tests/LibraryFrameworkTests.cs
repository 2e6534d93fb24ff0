// The suite runs against the build of the library that its runner means: a run against net8.0 says so.
using System;
using System.Reflection;
using System.Runtime.Versioning;
using NUnit.Framework;

namespace FusedAttention.Tests;

[TestFixture]
internal sealed class LibraryFrameworkTests
{
    [Test]
    public void The_library_is_the_build_that_is_meant()
    {
        string meant = Environment.GetEnvironmentVariable("FATTN_EXPECT_LIBRARY_FRAMEWORK") ?? "net10.0";
        var found = typeof(DenseAttention).Assembly.GetCustomAttribute<TargetFrameworkAttribute>();
        Assert.That(
            found?.FrameworkName, Is.EqualTo($".NETCoreApp,Version=v{meant["net".Length..]}"),
            "a run against another build sets FATTN_EXPECT_LIBRARY_FRAMEWORK");
    }
}
