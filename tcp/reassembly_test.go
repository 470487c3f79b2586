package tcp

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/weirnet/weir/buffer"
	"github.com/weirnet/weir/wire"
	"pgregory.net/rapid"
)

// text is a Buffer with the bytes of the stream from seq on: byte i is i·7 mod 251.
func text(pool *buffer.Pool, from, to int) *buffer.Buffer {
	b := new(buffer.Buffer)
	b.SetPool(pool)
	p := make([]byte, to-from)
	for i := range p {
		p[i] = byte((from + i) * 7 % 251)
	}
	b.Append(p)
	return b
}

func (in *inflow) show() string {
	var s []string
	for _, is := range in.islands {
		s = append(s, fmt.Sprintf("%d-%d", is.begin, is.end))
	}
	return strings.Join(s, " ")
}

func TestInsert(t *testing.T) {
	for _, test := range []struct {
		name string
		have [][2]int
		add  [2]int
		want string
		dup  [2]Seq
	}{
		{"the first", nil, [2]int{10, 20}, "10-20", [2]Seq{}},
		{"before", [][2]int{{30, 40}}, [2]int{10, 20}, "10-20 30-40", [2]Seq{}},
		{"behind", [][2]int{{10, 20}}, [2]int{30, 40}, "10-20 30-40", [2]Seq{}},
		{"touching the end", [][2]int{{10, 20}}, [2]int{20, 30}, "10-30", [2]Seq{}},
		{"touching the begin", [][2]int{{20, 30}}, [2]int{10, 20}, "10-30", [2]Seq{}},
		{"between", [][2]int{{10, 20}, {30, 40}}, [2]int{20, 30}, "10-40", [2]Seq{}},
		{"known", [][2]int{{10, 40}}, [2]int{20, 30}, "10-40", [2]Seq{20, 30}},
		{"the same", [][2]int{{10, 40}}, [2]int{10, 40}, "10-40", [2]Seq{10, 40}},
		{"over the end", [][2]int{{10, 20}}, [2]int{15, 30}, "10-30", [2]Seq{15, 20}},
		{"over the begin", [][2]int{{20, 30}}, [2]int{10, 25}, "10-30", [2]Seq{20, 25}},
		{"over all of it", [][2]int{{20, 30}}, [2]int{10, 40}, "10-40", [2]Seq{20, 30}},
		{"over several", [][2]int{{20, 30}, {40, 50}, {60, 70}, {90, 99}}, [2]int{10, 65}, "10-70 90-99", [2]Seq{20, 30}},
	} {
		cfg, in := &Config{}, &inflow{}
		for _, r := range test.have {
			in.insert(cfg, Seq(r[0]), text(nil, r[0], r[1]), 1<<20)
		}
		left, end := in.insert(cfg, Seq(test.add[0]), text(nil, test.add[0], test.add[1]), 1<<20)
		if in.show() != test.want || left != test.dup[0] || end != test.dup[1] {
			t.Errorf("%s: %s, twice %d-%d; want %s, twice %v", test.name, in.show(), left, end, test.want, test.dup)
		}
		if err := in.check(0); err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

// Segments of a stream in any order, any overlap and any number of times give the stream, and all memory back.
func TestReassemblyModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pool := buffer.NewPool(buffer.Options{Check: true})
		cfg := &Config{Buffers: pool}
		base := Seq(rapid.Uint32().Draw(t, "base"))
		in := &inflow{}
		in.queue.SetPool(pool)
		next := 0
		have := map[int]bool{}
		for range rapid.IntRange(1, 60).Draw(t, "segments") {
			from := rapid.IntRange(next, next+300).Draw(t, "from")
			to := from + rapid.IntRange(1, 100).Draw(t, "bytes")
			for i := from; i < to; i++ {
				have[i] = true
			}
			b := text(pool, from, to)
			if from > next {
				in.insert(cfg, base+Seq(from), b, 1<<20)
			} else {
				in.queue.Queue(b)
				next = in.take(cfg, base+Seq(to)).minus(base)
			}
			b.Release()
			if err := in.check(base + Seq(next)); err != nil {
				t.Fatal(err)
			}
			for i := range next {
				if !have[i] {
					t.Fatalf("byte %d came from nowhere", i)
				}
			}
			if have[next] {
				t.Fatalf("byte %d is there and was not taken", next)
			}
		}
		var want bytes.Buffer
		text(nil, 0, next).WriteTo(&want)
		if !bytes.Equal(in.queue.Flatten(), want.Bytes()) {
			t.Fatal("another stream")
		}
		in.queue.Release()
		in.prune(cfg, 0)
		if err := pool.Leaked(); err != nil {
			t.Fatal(err)
		}
	})
}

// The number of islands is bounded, more narrowly if no segments are as small; the lowest are kept, which are needed first.
func TestIslandsBounded(t *testing.T) {
	for size, most := range map[int]int{1: fewIslands, 64: fewIslands, 524: maxIslands} {
		testIslandsBounded(t, size, most)
	}
}

func testIslandsBounded(t *testing.T, size, most int) {
	pool := buffer.NewPool(buffer.Options{Check: true})
	cfg, in := &Config{Buffers: pool}, &inflow{}
	in.queue.SetPool(pool)
	for i := range 2 * most {
		data := text(pool, 0, size)
		in.insert(cfg, Seq(2000+2*size*i), data, 1<<30)
		data.Release() // what was refused
	}
	if len(in.islands) != most || in.islands[0].begin != 2000 {
		t.Fatalf("%d islands of %d bytes, want %d, the first at %d", len(in.islands), size, most, in.islands[0].begin)
	}
	far := in.islands[most-1].begin
	in.insert(cfg, 5, text(pool, 0, size), 1<<30)
	if len(in.islands) != most || in.islands[0].begin != 5 || in.islands[most-1].begin == far {
		t.Error("the lowest did not take the place of the highest")
	}
	if err := in.check(0); err != nil {
		t.Error(err)
	}
	in.prune(cfg, 0)
	if len(in.islands) != 0 || in.charged != 0 {
		t.Error("pruned to nothing, and something is left")
	}
	if n := in.report(make([]wire.SACKBlock, 4)); n != 0 {
		t.Error("a SACK block of what was pruned")
	}
	if err := pool.Leaked(); err != nil {
		t.Error(err)
	}
}
