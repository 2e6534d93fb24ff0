// Guards between header, bindings and native library that need no compiler.
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Runtime.InteropServices;
using System.Text.RegularExpressions;
using FusedAttention.BindingGenerator;
using FusedAttention.Internal;
using FusedAttention.Interop;
using FusedAttention.Tests.Support;
using NUnit.Framework;

namespace FusedAttention.Tests.Interop;

[TestFixture]
internal sealed unsafe partial class AbiLayoutTests
{
    [Test]
    public void Every_struct_and_field_lies_where_the_native_library_has_it()
    {
        NativeRuntime.EnsureLoaded();
        fattn_abi_description description = default;
        description.struct_size = (uint)sizeof(fattn_abi_description);
        Assert.That(NativeMethods.fattn_abi_describe(&description), Is.EqualTo(fattn_status.FATTN_STATUS_OK));
        List<AbiEntry> native = AbiCheck.Read(in description);
        Assert.That(AbiTable.CreateEntries(), Is.EquivalentTo(native));
        Assert.That(native, Has.Count.GreaterThan(300));
    }

    [Test]
    public void Entries_are_the_sizes_that_the_runtime_uses()
    {
        List<AbiEntry> entries = AbiTable.CreateEntries();
        AbiEntry layout = entries.Single(e => e is { Structure: nameof(fattn_layout), Field: null });
        Assert.That(layout.Size, Is.EqualTo(72));
        AbiEntry stream = entries.Single(e => e is { Structure: nameof(fattn_run), Field: "stream" });
        Assert.That(
            (stream.Offset, stream.Size),
            Is.EqualTo(((uint)Marshal.OffsetOf<fattn_run>("stream"), (uint)sizeof(nint))));
    }

    [TestCaseSource(typeof(AbiTable), nameof(AbiTable.CreateFunctionNames))]
    public void Every_function_is_exported(string name) =>
        Assert.That(NativeLibrary.TryGetExport(NativeRuntime.Handle, name, out _), $"{name} is not exported");

    [Test]
    public void Generated_files_were_written_from_this_header()
    {
        string hash = HeaderReader.HashOf(Repository.Header);
        string[] files = Directory.GetFiles(Repository.Interop, "*.Generated.cs");
        Assert.That(files, Has.Length.EqualTo(4));
        foreach (string file in files)
        {
            Assert.That(HashPattern().Match(File.ReadAllText(file)).Groups[1].Value, Is.EqualTo(hash), file);
        }
    }

    [GeneratedRegex("sha256 ([0-9a-f]{64})")]
    private static partial Regex HashPattern();
}
