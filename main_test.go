package weir_test

import (
	"testing"

	"go.uber.org/goleak"
)

// TestMain demands that nothing runs on when all stacks are closed.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
