// Native host memory: size, alignment, access, views, lifetime.
using System;
using System.Runtime.CompilerServices;
using FusedAttention.Internal;
using NUnit.Framework;

namespace FusedAttention.Tests;

[TestFixture]
internal sealed unsafe class HostMemoryTests
{
    [Test]
    public void Buffers_start_aligned_and_zero()
    {
        using var buffer = new HostBuffer<float>(1000);
        Assert.That((long)Unsafe.AsPointer(ref buffer[0]) % HostMemoryHandle.Alignment, Is.Zero);
        Assert.That(buffer.AsSpan().ToArray(), Is.All.Zero);
        Assert.That(buffer.Length, Is.EqualTo(1000));
    }

    [Test]
    public void Elements_and_parts_are_the_same_memory()
    {
        using var buffer = new HostBuffer<int>(10);
        buffer[7] = 5;
        Assert.That(buffer.AsSpan(6, 3).ToArray(), Is.EqualTo(new[] { 0, 5, 0 }));
        buffer.Clear();
        Assert.That(buffer[7], Is.Zero);
    }

    [Test]
    public void Places_outside_are_refused()
    {
        using var buffer = new HostBuffer<int>(10);
        Assert.That(() => buffer[10], Throws.TypeOf<ArgumentOutOfRangeException>());
        Assert.That(() => buffer[-1], Throws.TypeOf<ArgumentOutOfRangeException>());
        Assert.That(() => buffer.AsSpan(8, 3).Length, Throws.TypeOf<ArgumentOutOfRangeException>());
        Assert.That(() => buffer.AsSpan(-1, 3).Length, Throws.TypeOf<ArgumentOutOfRangeException>());
        Assert.That(() => new HostBuffer<int>(-1), Throws.TypeOf<ArgumentOutOfRangeException>());
        Assert.That(() => new HostBuffer<int>(long.MaxValue), Throws.TypeOf<ArgumentOutOfRangeException>());
    }

    [Test]
    public void More_than_a_span_holds_is_allowed_but_is_no_span()
    {
        using var buffer = new HostBuffer<byte>(int.MaxValue + 10L);
        buffer[int.MaxValue + 5L] = 3;
        Assert.That(buffer.AsSpan(int.MaxValue + 4L, 2)[1], Is.EqualTo(3));
        Assert.That(() => buffer.AsSpan().Length, Throws.InvalidOperationException.With.Message.Contains("at most"));
    }

    [Test]
    public void A_disposed_buffer_throws_and_may_be_disposed_again()
    {
        var buffer = new HostBuffer<int>(10);
        buffer.Dispose();
        buffer.Dispose();
        Assert.That(buffer.IsDisposed);
        Assert.That(() => buffer[0], Throws.TypeOf<ObjectDisposedException>());
        Assert.That(() => buffer.AsSpan().Length, Throws.TypeOf<ObjectDisposedException>());
        Assert.That(() => { TensorIn<int> _ = buffer; }, Throws.TypeOf<ObjectDisposedException>());
    }

    [Test]
    public void Tensors_are_contiguous_with_the_last_dimension_innermost()
    {
        using HostTensor<float> tensor = new([2, 3, 4]);
        tensor[1, 2, 3] = 9;
        Assert.That(tensor.Strides.ToArray(), Is.EqualTo(new long[] { 12, 4, 1 }));
        Assert.That(tensor.Lengths.ToArray(), Is.EqualTo(new long[] { 2, 3, 4 }));
        Assert.That(tensor.AsSpan()[23], Is.EqualTo(9));
        Assert.That(tensor.Length, Is.EqualTo(24));
    }

    [Test]
    public void Views_share_memory_and_do_not_own_it()
    {
        using var buffer = new HostBuffer<float>(30);
        HostTensor<float> view = HostTensor<float>.View(buffer, 2, [3, 2], [8, 1]);
        view[2, 1] = 4;
        Assert.That(buffer[2 + 16 + 1], Is.EqualTo(4));
        Assert.That(() => view.AsSpan().Length, Throws.InvalidOperationException.With.Message.Contains("[8, 1]"));
        view.Dispose();
        Assert.That(buffer.IsDisposed, Is.False);
    }

    [Test]
    public void Wrong_extents_indices_and_views_are_refused()
    {
        using var buffer = new HostBuffer<float>(30);
        using HostTensor<float> tensor = new([2, 3]);
        Assert.That(() => new HostTensor<float>([]), Throws.ArgumentException);
        Assert.That(() => new HostTensor<float>([1, 1, 1, 1, 1]), Throws.ArgumentException);
        Assert.That(() => new HostTensor<float>([2, -1]), Throws.TypeOf<ArgumentOutOfRangeException>());
        Assert.That(() => tensor[2, 0], Throws.TypeOf<ArgumentOutOfRangeException>());
        Assert.That(() => tensor[0], Throws.TypeOf<ArgumentOutOfRangeException>());
        Assert.That(() => HostTensor<float>.View(buffer, 2, [3, 2], [14, 1]), Throws.ArgumentException);
        Assert.That(() => HostTensor<float>.View(buffer, 0, [3, 2], [1]), Throws.ArgumentException);
        Assert.That(() => HostTensor<float>.View(buffer, 0, [3], [-1]), Throws.TypeOf<ArgumentOutOfRangeException>());
        Assert.That(() => HostTensor<float>.View(buffer, -1, [3], [1]), Throws.TypeOf<ArgumentOutOfRangeException>());
    }

    [Test]
    public void Products_that_overflow_are_refused()
    {
        using var buffer = new HostBuffer<float>(30);
        Assert.That(() => new HostTensor<float>([1L << 40, 1L << 40]), Throws.TypeOf<OverflowException>());
        Assert.That(
            () => HostTensor<float>.View(buffer, 0, [1L << 40, 2], [1L << 40, 1]), Throws.TypeOf<OverflowException>());
    }
}
