package order_test

import (
	"slices"
	"testing"

	"github.com/weirnet/weir/internal/order"
)

func TestStable(t *testing.T) {
	var list []int
	for i := range 1000 {
		list = append(list, i*7919%1000)
	}
	want := slices.Clone(list)
	slices.SortStableFunc(want, func(a, b int) int { return a/10 - b/10 })
	order.Stable(list, func(a, b *int) bool { return *a/10 < *b/10 })
	if !slices.Equal(list, want) {
		t.Errorf("sorted by tens: %v\nwant %v", list, want)
	}
	order.Stable(list[:0], func(a, b *int) bool { return *a < *b })
}
