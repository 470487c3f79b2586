package tcp

import (
	"cmp"
	"flag"
	"testing"
)

// SeedsFlag: go test ./tcp -seeds 2000 tries that many in each simulation, and measures for longer.
var SeedsFlag = flag.Int("seeds", 0, "seeds that each simulation tries; 0: a few, and fewer with -short")

// Seeds is how many seeds a simulation is to try: few with -short, more without, or what the flag says.
func Seeds(short, long int) int {
	if testing.Short() {
		long = short
	}
	return cmp.Or(*SeedsFlag, long)
}
