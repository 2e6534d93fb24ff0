#!/usr/bin/env bash
# Leg: every GoogleTest program of the release build, which build.sh has just made.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
gtest_all .build/native/release/tests
finish
