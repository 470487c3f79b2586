package tcp

import (
	"cmp"
	"flag"
	"testing"
)

// How many seeds the simulations try: go test ./tcp -seeds 2000.
var seedsFlag = flag.Int("seeds", 0, "seeds that each simulation tries; 0: a few, and fewer with -short")

// Seeds is how many seeds a simulation is to try: few with -short, more without, or what the flag says.
func Seeds(short, long int) int {
	if testing.Short() {
		long = short
	}
	return cmp.Or(*seedsFlag, long)
}
