// Keeps the plans of the problems asked for last. Used by the one-call methods of all families.
using System;
using System.Collections.Generic;

namespace FusedAttention.Internal;

/// <summary>The 64 plans used last, over all families, element types and devices.</summary>
internal static class PlanCache
{
    /// <summary>Number of plans kept.</summary>
    internal const int Capacity = 64;

    private static readonly object Gate = new();
    private static readonly Dictionary<Key, LinkedListNode<Entry>> Plans = new(Capacity + 1);
    private static readonly LinkedList<Entry> ByUse = new();

    /// <summary>Number of plans kept at the moment.</summary>
    internal static int Count
    {
        get
        {
            lock (Gate)
            {
                return Plans.Count;
            }
        }
    }

    /// <summary>
    /// The plan of a problem, with a reference to its native plan taken for the caller, who releases it: a plan that
    /// falls out of the cache meanwhile stays usable. Shapes and options are compared by value.
    /// </summary>
    internal static TPlan Rent<TPlan, TShape, TOptions>(
        TShape shape, TOptions options, AttentionDevice? device, bool isBackward)
        where TPlan : AttentionPlan, ICachedPlan<TPlan, TShape, TOptions>
        where TShape : class
        where TOptions : class
    {
        device ??= AttentionDevice.Cpu;
        ref Recent<TPlan> recent = ref Recent<TPlan>.Of(isBackward);
        if (recent.TryHold(shape, options, device))
        {
            return recent.Plan!;
        }

        TPlan plan = Find<TPlan, TShape, TOptions>(shape, options, device, isBackward);
        recent = new Recent<TPlan>(shape, options, device, plan);
        return plan;
    }

    private static TPlan Find<TPlan, TShape, TOptions>(
        TShape shape, TOptions options, AttentionDevice device, bool isBackward)
        where TPlan : AttentionPlan, ICachedPlan<TPlan, TShape, TOptions>
        where TShape : class
        where TOptions : class
    {
        var key = new Key(typeof(TPlan), device, shape, options, isBackward);
        lock (Gate)
        {
            if (Plans.TryGetValue(key, out LinkedListNode<Entry>? node))
            {
                device.ThrowIfDisposed();
                ByUse.Remove(node);
                ByUse.AddFirst(node);
                return Hold((TPlan)node.Value.Plan);
            }
        }

        // Made outside the lock; when two callers meet here, the second plan is dropped.
        TPlan made = TPlan.Make(shape, options, device, isBackward);
        lock (Gate)
        {
            if (Plans.TryGetValue(key, out LinkedListNode<Entry>? node))
            {
                made.Dispose();
                return Hold((TPlan)node.Value.Plan);
            }

            Plans.Add(key, ByUse.AddFirst(new Entry(key, made)));
            TPlan held = Hold(made);
            if (Plans.Count > Capacity)
            {
                LinkedListNode<Entry> oldest = ByUse.Last!;
                ByUse.RemoveLast();
                Plans.Remove(oldest.Value.Key);
                oldest.Value.Plan.Dispose();
            }

            return held;
        }
    }

    private static TPlan Hold<TPlan>(TPlan plan)
        where TPlan : AttentionPlan
    {
        bool isHeld = false;
        plan.Handle.DangerousAddRef(ref isHeld);
        return plan;
    }

    private readonly record struct Key(
        Type Plan, AttentionDevice Device, object Shape, object Options, bool IsBackward);

    /// <summary>
    /// The problem a thread asked for last: a loop that passes the same objects again does not pay for comparing them
    /// field by field. It does not count as a use, so the plan may be disposed meanwhile.
    /// </summary>
    private readonly struct Recent<TPlan>(object shape, object options, AttentionDevice device, TPlan plan)
        where TPlan : AttentionPlan
    {
        [ThreadStatic]
        private static Recent<TPlan> forward;

        [ThreadStatic]
        private static Recent<TPlan> backward;

        private readonly object? _shape = shape;
        private readonly object? _options = options;
        private readonly AttentionDevice? _device = device;

        internal TPlan? Plan { get; } = plan;

        internal static ref Recent<TPlan> Of(bool isBackward) => ref isBackward ? ref backward : ref forward;

        internal bool TryHold(object shape, object options, AttentionDevice device)
        {
            if (!ReferenceEquals(shape, _shape) || !ReferenceEquals(options, _options)
                || !ReferenceEquals(device, _device) || Plan!.Handle.IsClosed)
            {
                return false;
            }

            device.ThrowIfDisposed();
            try
            {
                Hold(Plan);
                return true;
            }
            catch (ObjectDisposedException)
            {
                // It fell out of the cache on another thread just now.
                return false;
            }
        }
    }

    private readonly record struct Entry(Key Key, AttentionPlan Plan);
}
