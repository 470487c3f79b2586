package main

import (
	"math"
	"testing"
)

// What is known of closed networks by formula.
func TestThroughput(t *testing.T) {
	for _, c := range []struct {
		name    string
		n       int
		private float64
		demand  []float64
		want    float64
	}{
		{"nothing is shared", 64, 200, nil, 64.0 / 200},
		{"alone", 1, 100, []float64{10, 20}, 1.0 / 130},
		{"one lock and nothing else", 8, 0, []float64{25}, 1.0 / 25},
		{"a balanced network", 6, 0, []float64{10, 10, 10}, 6.0 / (10 * (6 + 3 - 1))},
		{"much more than a lock bears", 1000, 100, []float64{50}, 1.0 / 50},
	} {
		if got := throughput(c.n, c.private, c.demand); math.Abs(got/c.want-1) > 1e-6 {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
