//go:build !linux

package weir_test

import "testing"

func inNamespace(t *testing.T, _ func(t *testing.T)) {
	t.Skip("the reference is Linux")
}

// parityOptionCases needs a kernel whose options the test knows.
func parityOptionCases() []parityCase { return nil }
