package sim

import "testing"

// maxFuzzed is how many choices a fuzzer's input makes; the others are 0.
const maxFuzzed = 200

// FuzzWorld runs the trial that a fuzzer's bytes choose: one byte for each choice, in the order in which they are made.
func FuzzWorld(f *testing.F) {
	for s := range scenarios {
		for _, seed := range []uint64{1, 2} {
			data := make([]byte, maxFuzzed)
			r := Random(seed)
			for i := range data {
				data[i] = byte(r.Uint64())
			}
			data[0] = byte(s)
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > maxFuzzed {
			return
		}
		c := newChoices(1)
		c.data, c.fuzzed = data, true
		if err := try(c); err != nil {
			t.Errorf("%v\nwith %v", err, c)
		}
	})
}

// TestReplay runs seeds twice: what happens must be the same, packet for packet.
func TestReplay(t *testing.T) {
	for seed := uint64(1); seed <= 40; seed++ {
		var sums [2]uint64
		for i := range sums {
			err := tryTraced(newChoices(seed), func(e Event) {
				for _, b := range []byte(e.String()) {
					sums[i] = (sums[i] ^ uint64(b)) * 1099511628211
				}
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		if sums[0] != sums[1] {
			t.Errorf("seed %d: two runs differ", seed)
		}
	}
}
