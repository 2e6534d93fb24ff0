# The same verbs as build.sh, for PowerShell. Tools are not installed: what is missing is named in one line. On Windows the compiler is GCC
# of MinGW-w64, 12 or newer, with posix threads.
param(
    [Parameter(Position = 0)] [string] $Verb = "help",
    [Parameter(ValueFromRemainingArguments = $true)] [string[]] $Rest = @()
)
$ErrorActionPreference = "Stop"
Set-Location $PSScriptRoot
$env:DOTNET_CLI_TELEMETRY_OPTOUT = "1"
$env:TESTINGPLATFORM_TELEMETRY_OPTOUT = "1"
$env:DOTNET_NOLOGO = "1"
$tool = @("run", "--project", "src/FusedAttention.Cli", "-c", "Release", "--no-build", "--")

# The older PowerShell, which has none of these variables, runs on Windows alone.
$onWindows = -not ($IsLinux -or $IsMacOS)

function Assert-Tool([string[]] $Names) {
    $missing = $Names | Where-Object { -not (Get-Command $_ -ErrorAction SilentlyContinue) }
    if ($missing) { [Console]::Error.WriteLine("missing: $($missing -join ', '); install them and run again"); exit 1 }
}

# Runs a program and stops the script when it fails.
function Invoke-Step([string] $Program, [string[]] $Arguments) {
    & $Program @Arguments
    if ($LASTEXITCODE -ne 0) { exit $LASTEXITCODE }
}

# The library file, into .build/native/out. Options that a verb does not name stay as the verb before left them.
function Build-Library([string[]] $Options = @()) {
    Assert-Tool cmake, ninja
    if ($onWindows) {
        Assert-Tool gcc, g++
        $Options += "-DCMAKE_C_COMPILER=gcc", "-DCMAKE_CXX_COMPILER=g++"
    }
    Invoke-Step cmake (@("-S", ".", "-B", ".build/native/release", "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release",
            "-DCMAKE_INSTALL_PREFIX=$PSScriptRoot/.build/native/out", "-DFATTN_JOIN_SOURCES=ON") + $Options)
    Build-Targets fused_attention
    Invoke-Step cmake @("--install", ".build/native/release")
}

# More of the release tree.
function Build-Targets([string[]] $Targets) {
    Invoke-Step cmake (@("--build", ".build/native/release", "--target") + $Targets)
}

switch ($Verb) {
    "run" {
        Assert-Tool dotnet
        Build-Library
        Invoke-Step dotnet @("build", "src/FusedAttention.Cli", "-c", "Release", "-v", "quiet")
        Invoke-Step dotnet ($tool + "demo" + $Rest)
    }
    "test" {
        Assert-Tool dotnet
        $linux = if ($IsLinux) { "ON" } else { "OFF" }
        Build-Library @("-DFATTN_BUILD_TESTS=ON", "-DFATTN_BUILD_VIRTUAL_GPU=$linux", "-DFATTN_BUILD_FUZZERS=$linux",
            "-DFATTN_SANITIZED_VARIANTS=$(if ($IsLinux) { "asan;tsan" })")
        $targets = @("all")
        if ($IsLinux -and -not ($Rest -match "^--quick")) { $targets += "tests_asan", "tests_tsan", "fuzzers" }
        Build-Targets $targets
        Invoke-Step dotnet @("build", "Interop.sln", "-c", "Release", "-v", "quiet")
        if (Get-Command bash -ErrorAction SilentlyContinue) {
            Invoke-Step bash (@("tests/legs/run.sh") + $Rest)
        } else {
            $unknown = $Rest | Where-Object { $_ -notin "--quick", "--full" }
            if ($unknown) {
                [Console]::Error.WriteLine("unknown option $($unknown -join ' '); without bash, test takes --quick, --full")
                exit 2
            }
            $env:FATTN_TEST_MODE = if ($Rest -contains "--full") { "full" } else { "sampled" }
            Get-ChildItem .build/native/release/tests/fattn_test_* | ForEach-Object { Invoke-Step $_.FullName @() }
            Invoke-Step dotnet @("test", "--solution", "Interop.sln", "-c", "Release", "--no-build")
            "not run: $(if ($Rest -contains "--quick") { "the leg checks, which needs" } else { "all other legs, which need" }) bash"
        }
    }
    "bench" {
        Assert-Tool dotnet
        Build-Library @("-DFATTN_BUILD_BENCHMARKS=ON")
        Build-Targets benchmarks
        Invoke-Step dotnet @("build", "Interop.sln", "-c", "Release", "-v", "quiet")
        Get-ChildItem .build/native/release/bench/fattn_bench_* | ForEach-Object { Invoke-Step $_.FullName @() }
        Invoke-Step dotnet @("run", "--project", "tests/FusedAttention.Benchmarks", "-c", "Release", "--no-build", "--",
            "--filter", "*")
        Invoke-Step dotnet ($tool + "bench" + $Rest)
    }
    "pack" {
        Assert-Tool dotnet
        Build-Library
        Invoke-Step dotnet @("pack", "src/FusedAttention", "-c", "Release", "-v", "quiet")
    }
    "native" { Build-Library }
    "cuda-toolkit" {
        Assert-Tool bash
        Invoke-Step bash @("cmake/cuda_toolkit.sh", ".build/cuda-toolkit")
    }
    "clean" { if (Test-Path .build) { Remove-Item -Recurse -Force .build } }
    default {
        "./build.ps1 VERB: run, test [--quick|--full], bench, pack, native, cuda-toolkit, clean"
        if ($Verb -ne "help") { exit 2 }
    }
}
