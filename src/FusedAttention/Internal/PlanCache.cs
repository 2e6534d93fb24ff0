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

    private readonly record struct Entry(Key Key, AttentionPlan Plan);
}
