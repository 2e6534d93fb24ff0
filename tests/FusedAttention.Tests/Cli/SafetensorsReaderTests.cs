// Tests of the tool's strict safetensors reader: what it takes, and that each fault has its own message.
using System.IO;
using System.Text;
using FusedAttention.Cli;
using FusedAttention.Cli.Safetensors;
using NUnit.Framework;

namespace FusedAttention.Tests.Cli;

[TestFixture]
internal sealed class SafetensorsReaderTests
{
    private const string F32x2 = """{"dtype":"F32","shape":[2],"data_offsets":[0,8]}""";

    [Test]
    public void Scalars_empty_tensors_metadata_and_padding_are_read()
    {
        string header = """
            {"__metadata__":{"made by":"a test"},"one":{"dtype":"F64","shape":[],"data_offsets":[0,8]},
             "none":{"shape":[3,0,9],"data_offsets":[8,8],"dtype":"BF16"},
             "m":{"dtype":"U8","shape":[2,2],"data_offsets":[8,12]}}   
            """;
        using SafetensorsReader reader = Open(TensorFileBuilder.Make(header, 12));
        Assert.That(reader.Tensors.Keys, Is.EquivalentTo(new[] { "one", "none", "m" }));
        Assert.That(reader.Tensors["one"].Shape, Is.Empty);
        Assert.That(reader.Tensors["one"].NumElements, Is.EqualTo(1));
        Assert.That(reader.Tensors["none"].NumElements, Is.Zero);
        Assert.That(reader.Tensors["m"].Dtype, Is.EqualTo(TensorDtype.U8));
    }

    [Test]
    public void Tensor_beyond_two_gibibytes_is_read([Values(0L, 1L << 31, 3L << 30)] long gap)
    {
        string path = Path.Combine(TestContext.CurrentContext.WorkDirectory, $"sparse{gap}.safetensors");
        string header = $$"""
            {"big":{"dtype":"U8","shape":[{{gap}}],"data_offsets":[0,{{gap}}]},
            "end":{"dtype":"I32","shape":[1],"data_offsets":[{{gap}},{{gap + 4}}]} }
            """;
        try
        {
            using (FileStream file = File.Create(path))
            {
                file.Write(TensorFileBuilder.Make(header, 0));
                file.Seek(gap, SeekOrigin.Current);
                file.Write([0x78, 0x56, 0x34, 0x12]);
            }

            byte[] last = [];
            using SafetensorsReader reader = SafetensorsReader.Open(path);
            reader.Read(reader.Tensors["end"], (bytes, _) => last = bytes.ToArray());
            Assert.That(last, Is.EqualTo(new byte[] { 0x78, 0x56, 0x34, 0x12 }));
        }
        finally
        {
            File.Delete(path);
        }
    }

    [TestCase("""["q"]""", "does not start with '{'")]
    [TestCase(""" {"q":1}""", "does not start with '{'")]
    [TestCase("""{"q":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},}""", "not strict JSON")]
    [TestCase("""{"q":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}} x""", "not strict JSON")]
    [TestCase("""{"q":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}{}""", "not strict JSON")]
    [TestCase("""{/* */"q":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}""", "not strict JSON")]
    [TestCase("""{"q":7}""", "is a number; expected an object")]
    [TestCase("""{"q":{"dtype":"F32","shape":[2]}}""", "lacks one of")]
    [TestCase("""{"q":{"dtype":"F8","shape":[8],"data_offsets":[0,8]}}""", "dtype is \"F8\"; allowed are F64")]
    [TestCase("""{"q":{"dtype":32,"shape":[2],"data_offsets":[0,8]}}""", "dtype is a number; expected a string")]
    [TestCase("""{"q":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}}""", "has dtype twice")]
    [TestCase("""{"q":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"strides":[1]}}""", "field \"strides\"; allowed")]
    [TestCase("""{"q":{"dtype":"F32","shape":[2.0],"data_offsets":[0,8]}}""", "shape holds something that is not")]
    [TestCase("""{"q":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}""", "shape holds something that is not")]
    [TestCase("""{"q":{"dtype":"F32","shape":[2,[1]],"data_offsets":[0,8]}}""", "shape holds something that is not")]
    [TestCase("""{"q":{"dtype":"F32","shape":2,"data_offsets":[0,8]}}""", "shape is a number; expected an array")]
    [TestCase("""{"q":{"dtype":"F32","shape":[2],"data_offsets":[8]}}""", "expected [begin, end]")]
    [TestCase("""{"q":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}""", "expected [begin, end]")]
    [TestCase("""{"q":{"dtype":"F32","shape":[2],"data_offsets":[0,8,8]}}""", "more than 2 numbers")]
    [TestCase("""{"q":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}""", "needs 12 bytes, data_offsets give 8")]
    [TestCase("""{"q":{"dtype":"F32","shape":[4294967296,4294967296,4294967296],"data_offsets":[0,8]}}""",
        "more than 2^63-1")]
    [TestCase("""{"q":{"dtype":"F32","shape":[4294967296,4294967296,0],"data_offsets":[0,0]}}""", "more than 2^63-1")]
    [TestCase("""{"q":{"dtype":"U8","shape":[9223372036854775808],"data_offsets":[0,8]}}""", "shape holds something")]
    [TestCase("""{"q":{"dtype":"U8","shape":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,8],"data_offsets":[0,8]}}""",
        "more than 16 numbers")]
    [TestCase("""{"q":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}""", "leaves a gap")]
    [TestCase("""{"q":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}""", "cover 4 bytes, the file has 8")]
    [TestCase("""{"q":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}""", "cover 16 bytes, the file has 8")]
    [TestCase("""
        {"q":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},
        "k":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}
        """,
        "overlaps")]
    [TestCase("""
        {"q":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},
        "q":{"dtype":"F32","shape":[0],"data_offsets":[8,8]}}
        """,
        "twice")]
    [TestCase("""
        {"q":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},
        "\u0071":{"dtype":"F32","shape":[0],"data_offsets":[8,8]}}
        """,
        "twice")]
    [TestCase("""{"__metadata__":{"a":1},"q":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}""",
        "is a number; expected a string")]
    [TestCase("""{"__metadata__":{"a":"1","a":"2"},"q":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}""", "twice")]
    [TestCase("""{"__metadata__":{},"__metadata__":{},"q":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}""",
        "twice")]
    [TestCase("""{"\ud800":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}""", "surrogate")]
    [TestCase("""{"q":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}""", "not strict JSON")]
    public void Malformed_header_is_refused_with_its_reason(string header, string reason)
    {
        byte[] file = TensorFileBuilder.Make(header, 8);
        Assert.That(() => Open(file), Throws.TypeOf<BadInputException>().With.Message.Contains(reason));
    }

    [Test]
    public void Short_file_is_refused()
    {
        Assert.That(() => Open([1, 2, 3]), Throws.TypeOf<BadInputException>().With.Message.Contains("has 3 bytes"));
    }

    [Test]
    public void Header_longer_than_the_file_is_refused()
    {
        byte[] file = TensorFileBuilder.Make($$"""{"q":{{F32x2}} }""", 8);
        file[1] = 1;
        Assert.That(() => Open(file), Throws.TypeOf<BadInputException>().With.Message.Contains("cut short"));
    }

    [Test]
    public void Header_beyond_the_limit_is_refused_before_memory_is_taken()
    {
        byte[] file = TensorFileBuilder.Make($$"""{"q":{{F32x2}} }""", 8);
        file[7] = 0x7F;
        Assert.That(() => Open(file), Throws.TypeOf<BadInputException>().With.Message.Contains("at most 100000000"));
    }

    [Test]
    public void Invalid_utf8_is_refused()
    {
        byte[] file = TensorFileBuilder.Make($$"""{"q":{{F32x2}} }""", 8);
        file[10] = 0xFF;
        Assert.That(() => Open(file), Throws.TypeOf<BadInputException>().With.Message.Contains("UTF-8"));
    }

    [TestCase("no/such/file.safetensors", "does not exist")]
    [TestCase(".", "folder")]
    [TestCase("", "cannot read")]
    public void Unreadable_path_is_bad_input(string path, string reason)
    {
        Assert.That(() => SafetensorsReader.Open(path),
            Throws.TypeOf<BadInputException>().With.Message.Contains(reason));
    }

    [Test]
    public void Written_file_reads_back()
    {
        using MemoryStream file = new();
        SafetensorsWriter.Write(file,
        [
            new OutputTensor("o", TensorDtype.F32, [2, 1], stream => stream.Write([0, 0, 128, 63, 0, 0, 0, 64])),
            new OutputTensor("empty", TensorDtype.I32, [0, 4], static _ => { }),
        ]);
        using SafetensorsReader reader = Open(file.ToArray());
        float[] values = new float[2];
        reader.Read(reader.Tensors["o"], (bytes, _) => ElementConversion.ToSingle(TensorDtype.F32, bytes, values));
        Assert.That(values, Is.EqualTo(new[] { 1f, 2f }));
        Assert.That(reader.Tensors["empty"].Shape, Is.EqualTo(new long[] { 0, 4 }));
    }

    [Test]
    public void Failed_write_leaves_nothing_behind()
    {
        string folder = Directory.CreateTempSubdirectory("fattn").FullName;
        string path = Path.Combine(folder, "out.safetensors");
        File.WriteAllText(path, "old");
        try
        {
            OutputTensor broken = new("o", TensorDtype.F32, [2], static _ => throw new IOException("disk full"));
            Assert.That(() => SafetensorsWriter.Write(path, [broken]), Throws.TypeOf<IOException>());
            Assert.That(Directory.GetFiles(folder), Is.EqualTo(new[] { path }));
            Assert.That(File.ReadAllText(path, Encoding.UTF8), Is.EqualTo("old"));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static SafetensorsReader Open(byte[] file) => new(new MemoryStream(file), "in.safetensors");
}
