// Buffers of a GPU: copies, borrowing, what is refused, and their end while work is in flight.
using System;
using System.Linq;
using NUnit.Framework;

namespace FusedAttention.Tests.Gpu;

[TestFixture]
internal sealed class CudaMemoryTests : GpuTest
{
    private static readonly int[] Numbers = [.. Enumerable.Range(1, 1000)];

    [Test]
    public void Elements_go_there_and_back()
    {
        using DeviceBuffer<int> buffer = Device.Upload<int>(Numbers);
        Assert.That(buffer.Length, Is.EqualTo(1000));
        Assert.That(buffer.Pointer % 256, Is.EqualTo((nint)0));
        Assert.That(buffer.IsBorrowed, Is.False);
        Assert.That(buffer.ToArray(), Is.EqualTo(Numbers));
    }

    [Test]
    public void Pinned_memory_copies_in_a_stream()
    {
        using CudaStream stream = Device.CreateStream();
        using PinnedBuffer<int> up = Device.AllocatePinned<int>(1000);
        using PinnedBuffer<int> down = Device.AllocatePinned<int>(1000);
        using DeviceBuffer<int> first = Device.Allocate<int>(1000);
        using DeviceBuffer<int> second = Device.Allocate<int>(1000);
        Numbers.CopyTo(up.AsSpan());
        first.CopyFrom(up, stream);
        second.CopyFrom(first, stream);
        first.Clear(stream);
        second.CopyTo(down, stream);
        stream.Synchronize();
        Assert.That(down.AsSpan().ToArray(), Is.EqualTo(Numbers));
        Assert.That(first.ToArray(stream), Is.All.Zero);
    }

    [Test]
    public void A_slice_is_the_part_it_says()
    {
        using CudaStream stream = Device.CreateStream();
        using DeviceBuffer<int> buffer = Device.Upload<int>(Numbers);
        using DeviceBuffer<int> part = Device.Allocate<int>(10);
        part.CopyFrom(buffer.Slice(100, 20).Slice(5, 10), stream);
        Assert.That(part.ToArray(stream), Is.EqualTo(Numbers[105..115]));
        Assert.That(() => buffer.Slice(995, 6), Throws.TypeOf<ArgumentOutOfRangeException>());
    }

    [Test]
    public void An_empty_buffer_is_nothing_to_copy()
    {
        using DeviceBuffer<float> empty = Device.Allocate<float>(0);
        Assert.That(empty.ToArray(), Is.Empty);
        empty.CopyFrom([]);
    }

    [Test]
    public void Memory_of_others_is_borrowed_and_checked()
    {
        using DeviceBuffer<int> owner = Device.Upload<int>(Numbers);
        using (DeviceBuffer<int> borrowed = Device.Borrow<int>(owner.Pointer + 40, 100))
        {
            Assert.That(borrowed.IsBorrowed);
            Assert.That(borrowed.ToArray(), Is.EqualTo(Numbers[10..110]));
        }

        Assert.That(owner.ToArray(), Is.EqualTo(Numbers), "the borrower frees nothing");
        Assert.That(
            () => Device.Borrow<int>(owner.Pointer, 1001),
            Refused("address has 4000 bytes from there to the end of its block; 4004 are needed"));
        using PinnedBuffer<int> pinned = Device.AllocatePinned<int>(4);
        unsafe
        {
            Assert.That(() => Device.Borrow<int>((nint)pinned.Pointer, 4), Refused("address is not device memory"));
        }
    }

    [Test]
    public void Memory_of_another_context_is_refused()
    {
        using CudaDevice other = OpenOther(1);
        using DeviceBuffer<int> there = other.Upload<int>(Numbers);
        Assert.That(
            () => Device.Borrow<int>(there.Pointer, 1000),
            Refused("address was allocated in another context than the primary context of CUDA device 0"));
        using CudaStream stream = Device.CreateStream();
        using DeviceBuffer<int> here = Device.Allocate<int>(1000);
        Assert.That(() => here.CopyFrom(there, stream), Refused("from was allocated in another context"));
        Assert.That(() => there.Clear(stream), Refused("to was allocated in another context"));
    }

    [Test]
    public void Lengths_have_to_agree()
    {
        using DeviceBuffer<int> buffer = Device.Allocate<int>(10);
        Assert.That(
            () => buffer.CopyFrom(new int[9]),
            Throws.ArgumentException.With.Message.StartsWith("9 elements were given; the buffer has 10."));
        Assert.That(() => buffer.CopyTo(new int[11]), Throws.ArgumentException);
        Assert.That(() => Device.Allocate<int>(-1), Throws.TypeOf<ArgumentOutOfRangeException>());
        Assert.That(() => Device.Allocate<int>(long.MaxValue), Throws.TypeOf<ArgumentOutOfRangeException>());
    }

    [Test]
    public void Too_much_memory_is_told_with_figures()
    {
        CudaMemoryInfo before = Device.GetMemoryInfo();
        Assert.That(before.Total, Is.EqualTo(Device.Describe().MemoryBytes));
        var error = Assert.Throws<AttentionException>(() => Device.Allocate<byte>(before.Total + 1));
        Assert.That(error!.Status, Is.EqualTo(AttentionStatus.OutOfMemory));
        Assert.That(error.NativeText, Does.Contain($"{before.Total + 1} bytes asked for"));
        NeedVirtual(); // on a GPU other programs allocate too
        using DeviceBuffer<byte> buffer = Device.Allocate<byte>(1 << 20);
        Assert.That(Device.GetMemoryInfo().Free, Is.EqualTo(before.Free - (1 << 20)));
    }

    [Test]
    public void Memory_disposed_while_work_uses_it_stays_until_the_work_is_done()
    {
        using IDisposable late = RunLate();
        using CudaStream stream = Device.CreateStream();
        using PinnedBuffer<int> down = Device.AllocatePinned<int>(1000);
        PinnedBuffer<int> up = Device.AllocatePinned<int>(1000);
        DeviceBuffer<int> buffer = Device.Allocate<int>(1000);
        Numbers.CopyTo(up.AsSpan());
        buffer.CopyFrom(up, stream);
        buffer.CopyTo(down, stream);
        Assert.That(stream.IsDone, Is.False, "nothing has run yet");
        up.Dispose();
        Assert.That(down.AsSpan().ToArray(), Is.EqualTo(Numbers), "disposing waited");
        buffer.Dispose();
        Assert.That(() => buffer.Pointer, Throws.TypeOf<ObjectDisposedException>());
        Assert.That(() => buffer.CopyTo(down, stream), Throws.TypeOf<ObjectDisposedException>());
        Assert.That(() => up.AsSpan(), Throws.TypeOf<ObjectDisposedException>());
        Assert.That(buffer.Dispose, Throws.Nothing);
    }

    [Test]
    public void Everything_outlives_its_device()
    {
        CudaDevice device = CudaDevice.Open();
        CudaStream stream = device.CreateStream();
        DeviceBuffer<int> buffer = device.Upload<int>(Numbers);
        device.Dispose();
        Assert.That(buffer.ToArray(stream), Is.EqualTo(Numbers));
        stream.Dispose();
        buffer.Dispose();
        Assert.That(() => device.Allocate<int>(1), Throws.TypeOf<ObjectDisposedException>());
        Assert.That(device.Synchronize, Throws.TypeOf<ObjectDisposedException>());
    }

    private static NUnit.Framework.Constraints.ContainsConstraint Refused(string words) =>
        Throws.TypeOf<AttentionException>().With.Property(nameof(AttentionException.Status))
            .EqualTo(AttentionStatus.InvalidArgument).And.Message.Contains(words);
}
