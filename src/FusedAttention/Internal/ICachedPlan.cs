// How a family's plan is made on behalf of its one-call methods. Implemented by plan classes, called by PlanCache.
namespace FusedAttention.Internal;

/// <summary>A plan class whose plans may be kept between one-call methods.</summary>
internal interface ICachedPlan<TPlan, TShape, TOptions>
{
    /// <summary>Makes the plan of a problem, for backward runs too when asked.</summary>
    static abstract TPlan Make(TShape shape, TOptions options, AttentionDevice device, bool isBackward);
}
