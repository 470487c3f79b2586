package buffer

import (
	"math"
	"slices"
	"strings"
	"testing"
)

func vec(parts ...string) Vec {
	var v Vec
	for _, s := range parts {
		v = append(v, []byte(s))
	}
	return v
}

func (v Vec) text() string {
	var s strings.Builder
	for _, p := range v {
		s.Write(p)
	}
	return s.String()
}

func TestVec(t *testing.T) {
	parts := []string{"", "abc", "", "", "defg", "h", ""}
	all := strings.Join(parts, "")
	if v := vec(parts...); v.Size() != len(all) || string(v.First()) != "abc" {
		t.Errorf("Size %d, First %q", v.Size(), v.First())
	}
	if v := vec("", ""); v.First() != nil || Vec(nil).First() != nil || v.Size() != 0 {
		t.Error("an empty Vec has a first slice")
	}
	for n := -1; n <= len(all)+1; n++ {
		v := vec(parts...)
		v.TrimFront(n)
		if want := all[max(0, min(n, len(all))):]; v.text() != want {
			t.Errorf("TrimFront(%d): %q, want %q", n, v.text(), want)
		}
		v = vec(parts...)
		s, ok := v.PullUp(n)
		if ok != (n >= 0 && n <= len(all)) || ok && (string(s) != all[:n] || cap(s) != n) || v.text() != all {
			t.Errorf("PullUp(%d): %q, %v; v is %q", n, s, ok, v.text())
		}
		if again, _ := v.PullUp(n); n > 0 && ok && &again[0] != &s[0] {
			t.Errorf("PullUp(%d) copied twice", n)
		}
	}
	var none Vec
	if _, ok := none.PullUp(1); ok {
		t.Error("PullUp of nothing")
	}
	if s, ok := none.PullUp(0); !ok || s == nil {
		t.Error("PullUp(0) of nothing was refused")
	}
}

func TestBufferVec(t *testing.T) {
	b, want := rope(checked(t), "abc", "defg")
	defer b.Release()
	v := b.Vec(vec("head"))
	if v.text() != "head"+want || len(v) != 3 {
		t.Errorf("%q", v)
	}
}

func TestRange(t *testing.T) {
	for _, c := range []struct{ a, b, want Range }{
		{Range{0, 10}, Range{5, 15}, Range{5, 10}},
		{Range{0, 10}, Range{2, 3}, Range{2, 3}},
		{Range{0, 10}, Range{10, 12}, Range{}},
		{Range{0, 10}, Range{20, 30}, Range{}},
		{Range{3, 3}, Range{0, 10}, Range{}},
		{Range{0, 10}, Range{0, 10}, Range{0, 10}},
		{Range{-5, 5}, Range{math.MinInt, math.MaxInt}, Range{-5, 5}},
	} {
		if got := c.a.Intersect(c.b); got != c.want {
			t.Errorf("%v with %v: %v, want %v", c.a, c.b, got, c.want)
		}
		if got := c.b.Intersect(c.a); got != c.want {
			t.Errorf("%v with %v: %v, want %v", c.b, c.a, got, c.want)
		}
	}
	if r := (Range{3, 7}); r.Len() != 4 || r.Offset(2) != (Range{5, 9}) || r.Offset(-3) != (Range{0, 4}) {
		t.Error("Len or Offset")
	}
	if (Range{7, 3}).Len() != 0 {
		t.Error("an inverted range has a length")
	}
}

func TestPrependable(t *testing.T) {
	p := NewPrependable(10)
	copy(p.Prepend(4), "wire")
	copy(p.Prepend(3), "bar")
	if string(p.View()) != "barwire" || p.UsedLength() != 7 || p.AvailableLength() != 3 {
		t.Errorf("%q, %d used, %d available", p.View(), p.UsedLength(), p.AvailableLength())
	}
	if p.Prepend(4) != nil || p.Prepend(-1) != nil || p.UsedLength() != 7 {
		t.Error("what does not fit was taken")
	}
	if b := p.Prepend(0); b == nil || len(b) != 0 {
		t.Error("Prepend(0) was refused")
	}
	if b := p.Prepend(3); len(b) != 3 || cap(b) != 3 || p.AvailableLength() != 0 {
		t.Errorf("last 3: %d of %d", len(b), cap(b))
	}
	var zero Prependable
	for _, q := range []Prependable{zero, NewPrependable(-1), NewPrependable(0)} {
		if q.Prepend(1) != nil || q.UsedLength() != 0 || !slices.Equal(q.View(), nil) {
			t.Error("a block of nothing has room")
		}
	}
}
