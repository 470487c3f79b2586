package weir_test

import (
	"testing"

	"github.com/weirnet/weir/internal/nstest"
)

// inNamespace runs fn where the kernel has but its loopback, and a route by it to where nobody answers.
func inNamespace(t *testing.T, fn func(t *testing.T)) {
	nstest.Run(t, func(t *testing.T) {
		nstest.Route(t, "198.19.0.0/16", "", "lo")
		fn(t)
	})
}
