package sim

import (
	"fmt"
	"strconv"
	"strings"
)

// choices are what makes one run differ from another: each is a number with a name, below a bound, and 0 is the plainest. They follow from
// a seed, each for itself, so that one can be changed without the others; or from a fuzzer's bytes.
type choices struct {
	seed   uint64
	data   []byte // of a fuzzer, if fuzzed
	fuzzed bool
	set    map[string]int // by name: instead of the drawn ones
	plain  bool           // what is not in set is 0

	names  []string // in order of first use
	values map[string]int
}

func newChoices(seed uint64) *choices { return &choices{seed: seed, values: map[string]int{}} }

// draw returns a number for a name.
func (c *choices) draw(name string) uint64 {
	if c.fuzzed {
		if len(c.data) == 0 {
			return 0
		}
		b := c.data[0]
		c.data = c.data[1:]
		return uint64(b)
	}
	r := Random(c.seed)
	for _, b := range []byte(name) {
		r = Random(r.Uint64() ^ uint64(b))
	}
	return r.Uint64()
}

// take is the choice of a name, made by choose or set.
func (c *choices) take(name string, n int, choose func(x uint64) int) int {
	if v, ok := c.values[name]; ok {
		return v
	}
	v, ok := c.set[name]
	if !ok && !c.plain {
		v = choose(c.draw(name))
	}
	v = min(v, n-1)
	c.names = append(c.names, name)
	c.values[name] = v
	return v
}

// pick chooses a number below n.
func (c *choices) pick(name string, n int) int {
	return c.take(name, n, func(x uint64) int { return int(x % uint64(n)) })
}

// often is pick, but half of the time it is 0.
func (c *choices) often(name string, n int) int { return c.seldom(name, n, n-1) }

// seldom is pick, with 0 as plain cases beside the n-1 others.
func (c *choices) seldom(name string, n, plain int) int {
	return c.take(name, n, func(x uint64) int { return max(int(x%uint64(n-1+plain))-plain+1, 0) })
}

// one chooses one of some values, each as often.
func one[T any](c *choices, name string, values ...T) T { return values[c.pick(name, len(values))] }

// mostly chooses the first of some values, or half of the time one of the others.
func mostly[T any](c *choices, name string, values ...T) T { return values[c.often(name, len(values))] }

// rarely chooses the first of some values three times in four.
func rarely[T any](c *choices, name string, values ...T) T {
	return values[c.seldom(name, len(values), 3*(len(values)-1))]
}

// String is the choices that are not plain, as a command line takes them.
func (c *choices) String() string {
	var s []string
	for _, name := range c.names {
		if v := c.values[name]; v != 0 {
			s = append(s, fmt.Sprintf("%s=%d", name, v))
		}
	}
	return strings.Join(s, " ")
}

// parseChoices reads what String gives. What is not named is 0.
func parseChoices(text string) (map[string]int, error) {
	set := map[string]int{}
	for _, field := range strings.Fields(text) {
		name, value, _ := strings.Cut(field, "=")
		n, err := strconv.Atoi(value)
		if err != nil {
			return nil, fmt.Errorf("choice %q: %w", field, err)
		}
		set[name] = n
	}
	return set, nil
}

// kinds tell failures apart, by their words: a smaller run should fail in the same way.
var kinds = []string{
	"a stall", "the deadline was", "the timer fires", "ended with", "is not done", "flows are left", "wrong bytes", "other bytes", "end of stream",
	"beyond the window", "shrinks", "acknowledges", "a gap", "an MSS", "after Close", "events", "budget", "panic",
}

func kind(err error) string {
	for _, k := range kinds {
		if strings.Contains(err.Error(), k) {
			return k
		}
	}
	return ""
}

// minimise turns choices off, and halves them, as long as run still fails. It returns what is left, and the last failure.
func minimise(seed uint64, c *choices, err error, run func(*choices) error) (*choices, error) {
	for tries, changed := 0, true; changed && tries < 200; {
		changed = false
		for _, name := range c.names {
			v := c.values[name]
			for _, less := range []int{0, v / 2, v - 1} {
				if less >= v || less < 0 || name == "scenario" {
					continue
				}
				tries++
				try := newChoices(seed)
				try.set = map[string]int{name: less}
				for other, v := range c.values {
					if other != name {
						try.set[other] = v
					}
				}
				if e := run(try); e != nil && kind(e) == kind(err) {
					c, err, changed = try, e, true
					break
				}
			}
		}
	}
	return c, err
}
