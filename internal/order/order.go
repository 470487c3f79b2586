// Package order sorts what is sorted seldom, in little code. slices.SortStableFunc is 8 KB of machine code for each kind of element, and
// sort.SliceStable brings reflection along, in every program with weir.
package order

import "sort"

// Stable sorts list by less. Elements that are alike stay in the order they had.
func Stable[E any](list []E, less func(a, b *E) bool) { sort.Stable(&sorted[E]{list, less}) }

type sorted[E any] struct {
	list []E
	less func(a, b *E) bool
}

func (s *sorted[E]) Len() int           { return len(s.list) }
func (s *sorted[E]) Less(i, j int) bool { return s.less(&s.list[i], &s.list[j]) }
func (s *sorted[E]) Swap(i, j int)      { s.list[i], s.list[j] = s.list[j], s.list[i] }
