package stack

import "time"

// testEpoch is where the tests' virtual clocks begin.
var testEpoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
