// What is said when the native library is missing, is another file, or has another interface.
using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Reflection;
using System.Runtime.Loader;
using FusedAttention.Internal;
using FusedAttention.Interop;
using NUnit.Framework;

namespace FusedAttention.Tests.Internal;

[TestFixture]
internal sealed class NativeLoaderTests
{
    [Test]
    public void A_missing_library_names_every_place_and_both_versions()
    {
        string[] places = ["/nowhere/a/libfused_attention.so", "/nowhere/b/x.so", "libfused_attention_none.so"];
        NativeLoader loader = NativeLoader.Load(places);
        Assert.That(loader.Handle, Is.EqualTo((nint)0));
        Assert.That(loader.Attempts.Select(a => a.Place), Is.EqualTo(places));
        foreach (string place in places)
        {
            Assert.That(loader.Error, Does.Contain(place));
        }

        Assert.That(loader.Error, Does.Contain("no such file"));
        Assert.That(loader.Error, Does.Contain($"FusedAttention {NativeLoader.ManagedVersion}"));
        Assert.That(loader.Error, Does.Contain($"interface version {NativeMethods.FATTN_ABI_VERSION}"));
    }

    [Test]
    public void A_file_that_is_no_library_is_passed_over_with_the_loaders_own_words()
    {
        string path = Path.GetTempFileName();
        File.WriteAllText(path, "not a library");
        try
        {
            NativeLoader loader = NativeLoader.Load([path]);
            Assert.That(loader.Attempts.Single().Result, Is.Not.EqualTo("loaded").And.Not.Empty);
            Assert.That(loader.Error, Does.Contain(path));
        }
        finally
        {
            File.Delete(path);
        }
    }

    [Test]
    public void Another_library_is_recognised()
    {
        string other = Directory.GetFiles(
            Path.GetDirectoryName(typeof(object).Assembly.Location)!, "libSystem.Native.*")
            .First(f => !f.EndsWith(".dbg", StringComparison.Ordinal));
        NativeLoader loader = NativeLoader.Load([other]);
        Assert.That(loader.Error, Does.Contain(other).And.Contain("fattn_abi_describe"));
    }

    [Test]
    public void The_library_in_use_came_from_the_programs_folder()
    {
        NativeLoader loader = NativeLoader.Load(NativeLoader.Places(null));
        Assert.That(loader.Error, Is.Null);
        Assert.That(loader.Path, Is.EqualTo(Path.Combine(AppContext.BaseDirectory, NativeLoader.FileName)));
        Assert.That(loader.NativeVersion, Is.EqualTo(NativeLoader.ManagedVersion));
    }

    [Test]
    public void A_configured_path_is_the_only_place() =>
        Assert.That(NativeLoader.Places("/some/where.so"), Is.EqualTo(new[] { "/some/where.so" }));

    [Test]
    public void Equal_interfaces_have_no_difference()
    {
        List<AbiEntry> entries = AbiTable.CreateEntries();
        Assert.That(AbiCheck.FindDifference(1, entries, 1, AbiTable.CreateEntries()), Is.Null);
    }

    [Test]
    public void Another_interface_version_is_named_with_both_numbers()
    {
        string? difference = AbiCheck.FindDifference(3, [], 4, []);
        Assert.That(difference, Does.Contain("version 3").And.Contain("version 4"));
        string text = NativeLoader.Mismatch("/x.so", "9.9.9", difference!);
        Assert.That(text, Does.Contain("/x.so").And.Contain("9.9.9").And.Contain(NativeLoader.ManagedVersion));
    }

    [Test]
    public void A_moved_field_is_named_with_both_places()
    {
        AbiEntry[] managed = [new("fattn_s", null, 0, 16), new("fattn_s", "a", 8, 8)];
        AbiEntry[] native = [new("fattn_s", null, 0, 16), new("fattn_s", "a", 4, 8)];
        Assert.That(
            AbiCheck.FindDifference(1, managed, 1, native),
            Is.EqualTo("fattn_s.a is 8 bytes at offset 8 here, 8 bytes at offset 4 in the native library"));
    }

    [Test]
    public void A_missing_and_a_surplus_field_are_differences()
    {
        AbiEntry[] one = [new("fattn_s", null, 0, 16)];
        AbiEntry[] two = [.. one, new("fattn_s", "a", 0, 8)];
        Assert.That(AbiCheck.FindDifference(1, two, 1, one), Does.Contain("does not know fattn_s.a"));
        Assert.That(AbiCheck.FindDifference(1, one, 1, two), Does.Contain("describes 2").And.Contain("assembly 1"));
    }

    // A second copy of the assembly has statics of its own, so that the first use can be seen to fail.
    [Test]
    public void First_use_with_a_wrong_path_throws_the_load_exception_and_can_be_configured_again()
    {
        var context = new AssemblyLoadContext("fresh", isCollectible: true);
        Assembly copy = context.LoadFromAssemblyPath(typeof(NativeRuntime).Assembly.Location);
        Type runtime = copy.GetType(typeof(NativeRuntime).FullName!)!;
        Type device = copy.GetType(typeof(AttentionDevice).FullName!)!;
        MethodInfo configure = runtime.GetMethod(nameof(NativeRuntime.Configure))!;
        MethodInfo open = device.GetProperty(nameof(AttentionDevice.Cpu))!.GetMethod!;
        configure.Invoke(null, ["/nowhere/libfused_attention.so"]);
        Exception? error = Assert.Throws<TargetInvocationException>(() => open.Invoke(null, null))!.InnerException;
        Assert.That(error!.GetType().FullName, Is.EqualTo(typeof(NativeLibraryLoadException).FullName));
        Assert.That(error.Message, Does.Contain("/nowhere/libfused_attention.so"));

        object report = runtime.GetMethod(nameof(NativeRuntime.Probe))!.Invoke(null, null)!;
        Assert.That(report.ToString(), Does.Contain("IsLoaded = False"));

        configure.Invoke(null, [Path.Combine(AppContext.BaseDirectory, NativeLoader.FileName)]);
        Assert.That(open.Invoke(null, null), Is.Not.Null);
    }
}
