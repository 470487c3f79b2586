package main

import (
	"slices"
	"testing"
	"time"
)

// The set-ups that are no world are each some work's, have a line in the list, and the ping-pong with work makes round trips.
func TestSpecials(t *testing.T) {
	for name := range specials {
		if _, ok := findSetup(name); !ok {
			t.Errorf("%s is in no list", name)
		}
		if !slices.ContainsFunc(works, func(w work) bool { return slices.Contains(w.peers, name) }) {
			t.Errorf("%s is no work's", name)
		}
	}
	if testing.Short() {
		return
	}
	s, err := busyPingPong(setup{}, options{Time: 20 * time.Millisecond})
	if err != nil || s.Value <= 0 || len(s.Curve) != len(percentiles) {
		t.Errorf("%+v, %v", s, err)
	}
}
