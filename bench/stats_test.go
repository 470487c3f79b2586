package main

import "testing"

func TestMedian(t *testing.T) {
	for _, tt := range []struct {
		v    []float64
		want float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{9, 1}, 5}, {[]float64{5, 1, 9}, 5}, {[]float64{4, 1, 2, 3}, 2.5}} {
		if got := median(tt.v); got != tt.want {
			t.Errorf("median of %v is %v, want %v", tt.v, got, tt.want)
		}
	}
}

func TestQuantile(t *testing.T) {
	var v []int
	for i := range 1000 {
		v = append(v, i+1)
	}
	for q, want := range map[float64]int{0: 1, .5: 500, .99: 990, .999: 999, 1: 1000} {
		if got := quantile(v, q); got != want {
			t.Errorf("quantile %v is %d, want %d", q, got, want)
		}
	}
	if got := quantile([]int(nil), .5); got != 0 {
		t.Errorf("quantile of nothing is %d", got)
	}
}

func TestFigure(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 7: "7", .0042: "0.0042", .5: "0.50", 12.34: "12.3", 123.4: "123", 1234.5: "1 234", 1234567: "1 234 567", -1234: "-1 234", 999.6: "1000",
	} {
		if got := figure(v); got != want {
			t.Errorf("figure(%v) is %q, want %q", v, got, want)
		}
	}
}
