// Streams and events: order, waiting with and without a thread, time, handles of other libraries.
using System;
using System.Collections.Generic;
using System.Linq;
using System.Threading;
using System.Threading.Tasks;
using NUnit.Framework;

namespace FusedAttention.Tests.Gpu;

[TestFixture]
internal sealed class CudaStreamTests : GpuTest
{
    [Test]
    public void A_stream_waits_for_a_mark_in_another()
    {
        using IDisposable late = RunLate();
        using CudaStream first = Device.CreateStream();
        using CudaStream second = Device.CreateStream(priority: -1);
        using CudaEvent mark = Device.CreateEvent();
        using PinnedBuffer<int> up = Device.AllocatePinned<int>(100);
        using PinnedBuffer<int> down = Device.AllocatePinned<int>(100);
        using DeviceBuffer<int> buffer = Device.Allocate<int>(100);
        up.AsSpan().Fill(7);
        buffer.CopyFrom(up, first);
        mark.Record(first);
        second.Wait(mark);
        buffer.CopyTo(down, second);
        Assert.That(mark.IsDone, Is.False);
        second.Synchronize();
        Assert.That(mark.IsDone);
        Assert.That(down.AsSpan().ToArray(), Is.All.EqualTo(7));
    }

    [Test]
    public async Task Waiting_occupies_no_thread_and_ends_with_the_work()
    {
        using CudaStream stream = Device.CreateStream();
        using DeviceBuffer<byte> buffer = Device.Allocate<byte>(1 << 20);
        List<Task> waits = [];
        for (int i = 0; i < 200; ++i)
        {
            buffer.Clear(stream);
            waits.Add(stream.WaitAsync().AsTask());
        }

        await Task.WhenAll(waits);
        Assert.That(stream.IsDone);
        using CudaEvent never = Device.CreateEvent();
        Assert.That(never.IsDone, "an event that was never recorded is done");
        await never.WaitAsync();
    }

    [Test]
    public void A_wait_can_be_given_up()
    {
        using CancellationTokenSource source = new();
        using CudaStream stream = Device.CreateStream();
        using (RunLate())
        {
            using DeviceBuffer<byte> buffer = Device.Allocate<byte>(1 << 16);
            for (int i = 0; i < 2000; ++i)
            {
                buffer.Clear(stream); // a query does one of them
            }

            source.CancelAfter(1);
            Task wait = stream.WaitAsync(source.Token).AsTask();
            Assert.That(async () => await wait, Throws.InstanceOf<OperationCanceledException>());
            Assert.That(stream.IsDone, Is.False, "the work goes on");
            Assert.That(
                () => stream.WaitAsync(source.Token), Throws.InstanceOf<OperationCanceledException>(),
                "a token that is cancelled already");
            stream.Synchronize();
        }
    }

    [Test]
    public void Events_measure_when_they_are_made_for_it()
    {
        using CudaStream stream = Device.CreateStream();
        using CudaEvent start = Device.CreateEvent(timing: true);
        using CudaEvent end = Device.CreateEvent(timing: true);
        using CudaEvent untimed = Device.CreateEvent();
        using DeviceBuffer<byte> buffer = Device.Allocate<byte>(1 << 20);
        start.Record(stream);
        buffer.Clear(stream);
        end.Record(stream);
        untimed.Record(stream);
        end.Synchronize();
        stream.Synchronize();
        Assert.That(end.ElapsedSince(start), Is.GreaterThanOrEqualTo(TimeSpan.Zero));
        Assert.That(() => untimed.ElapsedSince(start), Throws.TypeOf<AttentionException>());
    }

    [Test]
    public void Streams_of_other_libraries_are_borrowed()
    {
        using CudaStream owner = Device.CreateStream();
        using PinnedBuffer<int> down = Device.AllocatePinned<int>(10);
        using DeviceBuffer<int> buffer = Device.Upload<int>(Enumerable.Repeat(3, 10).ToArray());
        CudaStream borrowed = Device.BorrowStream(owner.Native);
        Assert.That(borrowed.Native, Is.EqualTo(owner.Native));
        buffer.CopyTo(down, borrowed);
        borrowed.Dispose();
        owner.Synchronize();
        Assert.That(down.AsSpan().ToArray(), Is.All.EqualTo(3));
        Assert.That(Device.DefaultStream.Native, Is.EqualTo((nint)0));
        Device.DefaultStream.Dispose();
        Device.DefaultStream.Synchronize();
    }

    [Test]
    public void Streams_and_events_of_two_devices_do_not_mix()
    {
        using CudaDevice other = OpenOther(1);
        using CudaStream here = Device.CreateStream();
        using CudaEvent there = other.CreateEvent();
        Assert.That(
            () => there.Record(here),
            Throws.TypeOf<AttentionException>().With.Message.Contains(
                "event and stream are of two contexts, on CUDA devices 1 and 0"));
        Assert.That(() => here.Wait(there), Throws.TypeOf<AttentionException>());
        using CudaStream foreign = other.CreateStream();
        Assert.That(
            () => Device.BorrowStream(foreign.Native),
            Throws.TypeOf<AttentionException>().With.Message.Contains("belongs to another context"));
    }

    [Test]
    public void The_context_of_another_library_is_attached()
    {
        NeedVirtual();
        nint context = MakeContext(1);
        try
        {
            using (CudaDevice attached = CudaDevice.Attach(context))
            {
                Assert.That(attached.Context, Is.EqualTo(context));
                Assert.That(attached.Describe().Index, Is.EqualTo(1));
                using CudaStream stream = attached.CreateStream();
                using DeviceBuffer<int> buffer = attached.Upload<int>([1, 2, 3]);
                Assert.That(buffer.ToArray(stream), Is.EqualTo(new[] { 1, 2, 3 }));
                using CudaDevice primary = CudaDevice.Open(1);
                Assert.That(primary.Context, Is.Not.EqualTo(context));
                Assert.That(
                    () => primary.Borrow<int>(buffer.Pointer, 3),
                    Throws.TypeOf<AttentionException>().With.Message.Contains("in another context than the primary"));
            }
        }
        finally
        {
            DestroyContext(context);
        }
    }

    [Test]
    public void A_stream_may_go_while_work_is_in_it()
    {
        using IDisposable late = RunLate();
        using PinnedBuffer<int> down = Device.AllocatePinned<int>(10);
        using DeviceBuffer<int> buffer = Device.Upload<int>(Enumerable.Repeat(9, 10).ToArray());
        CudaStream stream = Device.CreateStream();
        buffer.CopyTo(down, stream);
        stream.Dispose();
        stream.Dispose();
        Device.Synchronize();
        Assert.That(down.AsSpan().ToArray(), Is.All.EqualTo(9));
        Assert.That(stream.Synchronize, Throws.TypeOf<ObjectDisposedException>());
        Assert.That(() => stream.WaitAsync(), Throws.TypeOf<ObjectDisposedException>());
    }
}
