package sim

import (
	"flag"
	"fmt"
	"os"
	"testing"
)

var (
	seeds   = flag.Uint64("seeds", 2000, "how many seeds to run")
	first   = flag.Uint64("first", 1, "the first of them")
	oneSeed = flag.Uint64("seed", 0, "run this seed alone, with a trace of its packets")
	only    = flag.Int("only", -1, "run this scenario alone")
	setting = flag.String("set", "", "with -seed: the choices to run it with, as a failure prints them")
)

// TestSeeds runs a trial for each of many seeds. It makes what fails as small as it can.
func TestSeeds(t *testing.T) {
	if *oneSeed != 0 {
		t.Skip("a single seed is asked for")
	}
	n := *seeds
	if testing.Short() {
		n = min(n, 200)
	}
	failures := 0
	for seed := *first; seed < *first+n; seed++ {
		c := newChoices(seed)
		if *only >= 0 {
			c.set = map[string]int{"scenario": *only}
		}
		err := try(c)
		if err == nil {
			continue
		}
		t.Errorf("seed %d: %v\n%s", seed, err, smallest(seed, c, err))
		if failures++; failures == 10 {
			t.Fatal("too many failures")
		}
	}
}

// smallest minimises a failure, and says how to see it.
func smallest(seed uint64, c *choices, err error) string {
	again := newChoices(seed)
	again.set = c.values
	if try(again) == nil {
		return "which it does not do again: the run is not determined by its seed"
	}
	c, err = minimise(seed, again, err, try)
	return fmt.Sprintf("the smallest that fails: %v\n\tgo test ./sim -run TestSeed$ -seed %d -set '%v'", err, seed, c)
}

// TestSeed runs one seed with a trace.
func TestSeed(t *testing.T) {
	if *oneSeed == 0 {
		t.Skip("no -seed")
	}
	c := newChoices(*oneSeed)
	if *setting != "" {
		set, err := parseChoices(*setting)
		if err != nil {
			t.Fatal(err)
		}
		c.set = set
		c.plain = true
	}
	if err := tryTraced(c, func(e Event) { fmt.Fprintln(os.Stderr, e) }); err != nil {
		t.Errorf("%v\nwith %v", err, c)
	}
}
