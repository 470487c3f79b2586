package weir

import (
	"runtime"
	"sync/atomic"
	"testing"
)

// Of several writers each lets others run once it has written turnBytes; one alone goes on, and so does one of little.
func TestStreamsTakeTurns(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // what runs beside us runs when we let it
	for _, c := range []struct {
		name   string
		others int
		writes []int
		lets   bool
	}{
		{"alone", 0, []int{turnBytes, turnBytes}, false},
		{"another", 1, []int{turnBytes}, true},
		{"another, in pieces", 1, []int{turnBytes / 2, turnBytes / 2}, true},
		{"another, not so much", 1, []int{turnBytes / 2}, false},
		{"another, little at a time", 1, []int{100, streamWrite - 1}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var s streams
			for range c.others {
				s.begin(streamWrite)
			}
			var ran atomic.Bool
			done := make(chan struct{})
			go func() { ran.Store(true); close(done) }()
			for _, n := range c.writes {
				s.begin(n)
				s.end(n, n)
			}
			if ran.Load() != c.lets {
				t.Errorf("others ran: %t, want %t", ran.Load(), c.lets)
			}
			<-done
		})
	}
}
