// A generated picture to denoise when the user has none at hand: dusk over a lake, with a lighthouse on a brick pier.
using System;
using System.Numerics;
using System.Threading.Tasks;
using FusedAttention.Cli.Imaging;

namespace FusedAttention.Cli.Denoising;

/// <summary>Smooth gradients, fine texture, repeated structure and hard edges, each a trial for a denoiser.</summary>
internal sealed class Scene
{
    private const int SamplesPerSide = 3;
    private const float Horizon = 0.62f;
    private const float Pier = 0.86f;
    private const float TowerX = 0.235f;
    private const float TowerTop = 0.27f;

    private static readonly Vector3 Sun = new(1f, 0.93f, 0.74f);
    private static readonly Vector2 SunPlace = new(0.70f, 0.47f);

    private readonly ValueNoise _noise;

    private Scene(uint seed)
    {
        _noise = new ValueNoise(seed);
    }

    /// <summary>Draws the scene; equal seeds give equal pictures.</summary>
    internal static Raster Draw(int width, int height, uint seed)
    {
        Scene scene = new(seed);
        Raster picture = new(width, height, 3);
        Parallel.For(0, height, y =>
        {
            Span<byte> row = picture.Row(y);
            for (int x = 0; x < width; ++x)
            {
                Vector3 sum = default;
                for (int sample = 0; sample < SamplesPerSide * SamplesPerSide; ++sample)
                {
                    float dx = ((sample % SamplesPerSide) + 0.5f) / SamplesPerSide;
                    float dy = ((sample / SamplesPerSide) + 0.5f) / SamplesPerSide;
                    sum += Vector3.Clamp(
                        scene.Color((x + dx) / height, (y + dy) / height, (float)width / height),
                        Vector3.Zero,
                        Vector3.One);
                }

                Vector3 color = sum * (255f / (SamplesPerSide * SamplesPerSide));
                row[3 * x] = (byte)MathF.Round(color.X);
                row[(3 * x) + 1] = (byte)MathF.Round(color.Y);
                row[(3 * x) + 2] = (byte)MathF.Round(color.Z);
            }
        });
        return picture;
    }

    // x and y in heights of the picture; y goes down.
    private Vector3 Color(float x, float y, float aspect)
    {
        // The composition is one square wide and is spread over wider pictures.
        float u = x / aspect;
        if (Tower(u * MathF.Max(1, aspect), y, aspect) is { } tower)
        {
            return tower;
        }

        return y > Pier ? Bricks(x, y) : y > Horizon ? Water(u, y) : Land(u, y) ?? Sky(u, y);
    }

    private Vector3 Sky(float u, float y)
    {
        float t = y / Horizon;
        Vector3 color = Mix(new(0.11f, 0.16f, 0.38f), new(0.55f, 0.38f, 0.52f), Step(0.05f, 0.62f, t));
        color = Mix(color, new(0.98f, 0.68f, 0.42f), Step(0.5f, 1.0f, t));
        float cloud = _noise.At(4 * u, 17 * y);
        color = Mix(color, new(0.97f, 0.72f, 0.62f), 0.55f * Step(0.52f, 0.72f, cloud) * Step(0.1f, 0.5f, t));
        float distance = Vector2.Distance(new(u, y), SunPlace);
        color += Sun * (0.45f * MathF.Exp(-9 * distance));
        return Mix(color, Sun, Step(0.056f, 0.052f, distance));
    }

    // Three ridges, the nearest last; null above them all.
    private Vector3? Land(float u, float y)
    {
        Vector3? color = null;
        Vector3[] rocks = [new(0.46f, 0.36f, 0.50f), new(0.29f, 0.27f, 0.43f), new(0.13f, 0.17f, 0.25f)];
        for (int ridge = 0; ridge < rocks.Length; ++ridge)
        {
            float height = _noise.At((5 + (3 * ridge)) * u, 30 + (10 * ridge));
            float top = 0.32f + (0.12f * ridge) + ((0.30f - (0.09f * ridge)) * (0.75f - height));
            if (y < top)
            {
                continue;
            }

            float grain = _noise.At(40 * u, 40 * y) - 0.5f;
            float haze = Step(top, Horizon, y);
            Vector3 rock = rocks[ridge] * (1 + (0.5f * grain));
            Vector3 snow = new(0.93f, 0.84f, 0.86f);
            bool hasSnow = ridge == 0 && y - top < 0.055f + (0.09f * grain);
            color = Mix(hasSnow ? snow : rock, new(0.85f, 0.60f, 0.50f), (0.45f - (0.18f * ridge)) * haze);
        }

        return color;
    }

    private Vector3 Water(float u, float y)
    {
        float depth = (y - Horizon) / (Pier - Horizon);
        float wave = MathF.Sin(((220 / (1 + (3 * depth))) * (y - Horizon)) + (6 * _noise.At(9 * u, 60 * y)));
        float mirrored = Horizon - ((y - Horizon) * 1.6f);
        float aside = u + (0.006f * wave * (0.3f + depth));
        Vector3 color = Land(aside, mirrored) ?? Sky(aside, mirrored);
        color = Mix(color * 0.82f, new(0.07f, 0.13f, 0.24f), 0.25f + (0.35f * depth));
        float glitter = Step(0.35f, 0.9f, wave) * MathF.Exp(-18 * MathF.Abs(aside - SunPlace.X));
        return color + (Sun * (0.5f * glitter));
    }

    private Vector3 Bricks(float x, float y)
    {
        const float BrickHeight = 0.028f;
        const float BrickWidth = 0.075f;
        const float Mortar = 0.0035f;
        float down = (y - Pier) / BrickHeight;
        int row = (int)MathF.Floor(down);
        float along = (x / BrickWidth) + (row % 2 * 0.5f);
        int column = (int)MathF.Floor(along);
        float edge = MathF.Min((along - column) * BrickWidth, (down - row) * BrickHeight);
        if (edge < Mortar)
        {
            return new(0.44f, 0.38f, 0.36f);
        }

        float shade = 0.8f + (0.35f * _noise.Cell(column, row)) + (0.12f * (_noise.At(90 * x, 90 * y) - 0.5f));
        float light = row == 0 ? 1.25f : 1;
        return new Vector3(0.40f, 0.20f, 0.16f) * (shade * light);
    }

    // A tapered, striped tower with a lantern and a roof; null beside it. u is spread so that it keeps its width.
    private static Vector3? Tower(float x, float y, float aspect)
    {
        float aside = x - (TowerX * MathF.Max(1, aspect));
        float half = 0.040f + (0.028f * (y - TowerTop) / (Pier - TowerTop));
        float shade = 1.05f + (0.55f * aside / half);
        if (y >= TowerTop && y < Pier && MathF.Abs(aside) < half)
        {
            float stripe = (y - TowerTop) / 0.0843f;
            bool isRed = (int)stripe % 2 == 0;
            bool isWindow = MathF.Abs(aside) < 0.011f
                && MathF.Abs((stripe % 2) - 1.5f) < 0.22f;
            Vector3 paint = isRed ? new(0.66f, 0.13f, 0.13f) : new(0.88f, 0.83f, 0.80f);
            return isWindow ? new(0.10f, 0.10f, 0.16f) : paint * shade;
        }

        if (y >= TowerTop - 0.012f && y < TowerTop && MathF.Abs(aside) < 0.056f)
        {
            return new Vector3(0.16f, 0.15f, 0.20f) * shade;
        }

        if (y >= TowerTop - 0.062f && y < TowerTop && MathF.Abs(aside) < 0.030f)
        {
            bool isFrame = MathF.Abs((MathF.Abs(aside) % 0.02f) - 0.01f) > 0.0085f;
            return isFrame ? new(0.18f, 0.16f, 0.18f) : new(1.0f, 0.90f, 0.52f);
        }

        float roof = y - (TowerTop - 0.105f);
        return roof >= 0 && roof < 0.043f && MathF.Abs(aside) < roof * 0.95f
            ? new Vector3(0.50f, 0.11f, 0.12f) * shade
            : null;
    }

    private static Vector3 Mix(Vector3 from, Vector3 to, float t) => Vector3.Lerp(from, to, Math.Clamp(t, 0, 1));

    // 0 before from, 1 after to, smooth between; from may be the larger.
    private static float Step(float from, float to, float x)
    {
        float t = Math.Clamp((x - from) / (to - from), 0, 1);
        return t * t * (3 - (2 * t));
    }
}
