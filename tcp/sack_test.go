package tcp

import (
	"fmt"
	"strings"
	"testing"

	"github.com/weirnet/weir/sched"
	"pgregory.net/rapid"
)

// show writes a board as spans "0-1000 lost", relative to base.
func (b *scoreboard) show(base Seq) string {
	var s []string
	for i := b.head; i < len(b.list); i++ {
		word := fmt.Sprintf("%d-%d", b.begin(i).minus(base), b.list[i].end.minus(base))
		for _, f := range []struct {
			flag spanFlags
			name string
		}{{spanSacked, "s"}, {spanLost, "l"}, {spanRtx, "r"}} {
			if b.list[i].flags&f.flag != 0 {
				word += f.name
			}
		}
		s = append(s, word)
	}
	return strings.Join(s, " ")
}

// boardTest is what becomes of ten segments of 1000 bytes.
type boardTest struct {
	name string
	do   func(b *scoreboard)
	want string
	pipe int
}

// base is where the ten segments begin: their sequence numbers wrap in the midst.
var base = Seq(1<<32 - 5000)

func testBoard(t *testing.T, tests []boardTest) {
	t.Helper()
	for _, test := range tests {
		var b scoreboard
		b.reset(base)
		b.transmitted(base+10000, 1)
		test.do(&b)
		if got := b.show(base); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
		if b.pipe() != test.pipe {
			t.Errorf("%s: pipe %d, want %d", test.name, b.pipe(), test.pipe)
		}
		if err := b.check(); err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

// RFC 2018 §5: what the peer reports.
func TestScoreboardSACK(t *testing.T) {
	testBoard(t, []boardTest{
		{"sent at once is one span", func(b *scoreboard) {}, "0-10000", 10000},
		{"sent later is another", func(b *scoreboard) { b.transmitted(base+11000, 2) }, "0-10000 10000-11000", 11000},
		{"SACK splits", func(b *scoreboard) { b.sack(base+2000, base+3000, &delivery{}) }, "0-2000 2000-3000s 3000-10000", 9000},
		{"SACK joins", func(b *scoreboard) {
			b.sack(base+2000, base+3000, &delivery{})
			b.sack(base+4000, base+5000, &delivery{})
			b.sack(base+2500, base+4500, &delivery{})
		}, "0-2000 2000-5000s 5000-10000", 7000},
		{"SACK up to the end", func(b *scoreboard) { b.sack(base+9000, base+10000, &delivery{}) }, "0-9000 9000-10000s", 9000},
		{"SACK of nonsense", func(b *scoreboard) {
			b.sack(base, base+1000, &delivery{})       // at SND.UNA
			b.sack(base-1000, base+1000, &delivery{})  // below it
			b.sack(base+3000, base+3000, &delivery{})  // empty
			b.sack(base+3000, base+2000, &delivery{})  // inverted
			b.sack(base+9000, base+10001, &delivery{}) // of what was never sent
			b.sack(base+1<<31, base+1000, &delivery{})
		}, "0-10000", 10000},
	})
}

// RFC 6675 §4: what that means for the rest, and what is sent again.
func TestScoreboardLoss(t *testing.T) {
	testBoard(t, []boardTest{
		{"two segments above are no loss yet", func(b *scoreboard) {
			b.sack(base+1000, base+3000, &delivery{})
			b.detect(1000, 3)
		}, "0-1000 1000-3000s 3000-10000", 8000},
		{"more than two are", func(b *scoreboard) {
			b.sack(base+1000, base+3001, &delivery{})
			b.detect(1000, 3)
		}, "0-1000l 1000-3001s 3001-10000", 6999},
		{"three ranges are, however small", func(b *scoreboard) {
			for _, at := range []Seq{1000, 3000, 5000} {
				b.sack(base+at, base+at+10, &delivery{})
			}
			b.detect(1000, 3)
		}, "0-1000l 1000-1010s 1010-3000 3000-3010s 3010-5000 5000-5010s 5010-10000", 8970},
		{"sent again, it counts as in flight", func(b *scoreboard) {
			b.sack(base+2000, base+6000, &delivery{})
			b.detect(1000, 3)
			b.next(1 << 30)
			b.retransmitted(base+1000, 5)
		}, "0-1000lr 1000-2000l 2000-6000s 6000-10000", 5000},
		{"a hole acknowledged in part", func(b *scoreboard) {
			b.sack(base+2000, base+6000, &delivery{})
			b.detect(1000, 3)
			b.next(1 << 30)
			b.retransmitted(base+1000, 5)
			b.acked(base+500, &delivery{})
		}, "500-1000lr 1000-2000l 2000-6000s 6000-10000", 4500},
		{"everything is lost but what was SACKed", func(b *scoreboard) {
			b.sack(base+2000, base+6000, &delivery{})
			b.loseAll()
		}, "0-2000l 2000-6000s 6000-10000l", 0},
		{"and that too when the peer reneges (RFC 2018 §8)", func(b *scoreboard) {
			b.sack(base+2000, base+6000, &delivery{})
			b.forget()
			b.loseAll()
		}, "0-2000l 2000-6000l 6000-10000l", 0},
		{"nothing was lost after all", func(b *scoreboard) {
			b.sack(base+2000, base+6000, &delivery{})
			b.loseAll()
			b.next(1000)
			b.retransmitted(base+1000, 5)
			b.restore()
		}, "0-1000 1000-2000 2000-6000s 6000-10000", 6000},
		{"the first segment, without SACK", func(b *scoreboard) { b.loseFirst(1000) }, "0-1000l 1000-10000", 9000},
		{"the rescue is the end of what is outstanding", func(b *scoreboard) { b.guess(1000, true) }, "0-9000 9000-10000l", 9000},
		{"the best guess is the first hole", func(b *scoreboard) {
			b.sack(base+2000, base+3000, &delivery{})
			b.guess(1000, false)
		}, "0-1000l 1000-2000 2000-3000s 3000-10000", 8000},
		{"no guess beyond what was SACKed", func(b *scoreboard) { b.guess(1000, false) }, "0-10000", 10000},
		{"too large for the path", func(b *scoreboard) {
			b.transmitted(base+10500, 3)
			b.loseLarge(500)
		}, "0-10000l 10000-10500", 500},
	})
}

// What an ACK tells: each byte is counted once, and what was sent twice gives no times (Karn).
func TestScoreboardDelivery(t *testing.T) {
	var b scoreboard
	b.reset(0)
	b.transmitted(1000, 10)
	b.transmitted(2000, 20)
	b.transmitted(3000, 30)
	var d delivery
	b.sack(1000, 2000, &d)
	if d.bytes != 1000 || !d.timed || d.first != 20 || d.latest != 20 {
		t.Errorf("SACK: %+v", d)
	}
	d = delivery{}
	b.sack(1000, 2000, &d)
	if d.bytes != 0 || d.timed {
		t.Errorf("the same SACK again: %+v", d)
	}
	b.loseFirst(1000)
	b.next(1 << 30)
	b.retransmitted(1000, 40)
	b.acked(3000, &d)
	if d.bytes != 2000 || d.first != 30 || d.latest != 30 || !d.repeated || d.head == 0 {
		t.Errorf("ACK: %+v", d)
	}
}

// byteBoard is a scoreboard with a fate for each byte.
type byteBoard struct {
	una, end int
	fate     map[int]string // "", "s", "l", "lr"
}

func (m *byteBoard) count(fate string) (n int) {
	for i := m.una; i < m.end; i++ {
		if strings.Contains(m.fate[i], fate) {
			n++
		}
	}
	return n
}

// The board against a model that knows each byte, over any sequence of events.
func TestScoreboardModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base := Seq(rapid.Uint32().Draw(t, "base"))
		var b scoreboard
		b.reset(base)
		m := byteBoard{fate: map[int]string{}}
		now := sched.Time(0)
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			now++
			var d delivery
			want := 0
			switch rapid.IntRange(0, 6).Draw(t, "event") {
			case 0, 1:
				m.end += rapid.IntRange(1, 30).Draw(t, "bytes")
				b.transmitted(base+Seq(m.end), now)
			case 2:
				to := rapid.IntRange(m.una, m.end).Draw(t, "ack")
				for ; m.una < to; m.una++ {
					if m.fate[m.una] != "s" {
						want++
					}
				}
				b.acked(base+Seq(to), &d)
			case 3:
				left := rapid.IntRange(m.una-5, m.end+5).Draw(t, "left")
				right := rapid.IntRange(m.una-5, m.end+5).Draw(t, "right")
				if left > m.una && left < right && right <= m.end {
					for i := left; i < right; i++ {
						if m.fate[i] != "s" {
							want++
						}
						m.fate[i] = "s"
					}
				}
				b.sack(base+Seq(left), base+Seq(right), &d)
			case 4:
				b.detect(7, 3)
				m.detect(7)
			case 5:
				if begin, end, ok := b.next(1 << 30); ok {
					from, to := begin.minus(base), end.minus(base)
					to = rapid.IntRange(from+1, to).Draw(t, "resend")
					for i := from; i < to; i++ {
						if m.fate[i] != "l" {
							t.Fatalf("byte %d, %q, is sent again", i, m.fate[i])
						}
						m.fate[i] = "lr"
					}
					b.retransmitted(base+Seq(to), now)
				} else if strings.Contains(strings.ReplaceAll(b.show(base), "lr", ""), "l") {
					t.Fatal("something is lost and not found:", b.show(base))
				}
			case 6:
				if rapid.IntRange(0, 5).Draw(t, "timeout") == 0 {
					b.loseAll()
					for i := m.una; i < m.end; i++ {
						if m.fate[i] != "s" {
							m.fate[i] = "l"
						}
					}
				}
			}
			if err := b.check(); err != nil {
				t.Fatal(err, b.show(base))
			}
			if d.bytes != want {
				t.Fatalf("%d bytes delivered, want %d", d.bytes, want)
			}
			if b.sacked != m.count("s") || b.lost != m.count("l") || b.rtx != m.count("r") || b.flight() != m.end-m.una {
				t.Fatalf("%d SACKed %d lost %d again of %d, want %d %d %d %d: %s", b.sacked, b.lost, b.rtx, b.flight(),
					m.count("s"), m.count("l"), m.count("r"), m.end-m.una, b.show(base))
			}
		}
	})
}

// detect is IsLost of RFC 6675 §4 for each byte.
func (m *byteBoard) detect(mss int) {
	for i := m.una; i < m.end; i++ {
		if m.fate[i] != "" {
			continue
		}
		ranges, bytes := 0, 0
		for j := i; j < m.end; j++ {
			if m.fate[j] == "s" {
				bytes++
				if m.fate[j-1] != "s" {
					ranges++
				}
			}
		}
		if ranges >= 3 || bytes > (3-1)*mss {
			m.fate[i] = "l"
		}
	}
}

// A peer that SACKs every second byte costs no more than fewSpans spans, and what it hides is still found lost by the timer.
func TestScoreboardBounded(t *testing.T) {
	var b scoreboard
	b.reset(0)
	b.transmitted(10*fewSpans, 1)
	for i := Seq(1); i < 10*fewSpans; i += 2 {
		b.sack(i, i+1, &delivery{})
	}
	if err := b.check(); err != nil {
		t.Fatal(err)
	}
	if b.spans() > fewSpans+1 {
		t.Errorf("%d spans", b.spans())
	}
	for now := sched.Time(2); now < 2*fewSpans; now++ {
		b.transmitted(b.end()+10, now)
		b.sack(b.end()-5, b.end(), &delivery{})
	}
	b.detect(1, 3)
	for _, _, ok := b.next(1 << 30); ok; _, _, ok = b.next(1 << 30) {
		b.retransmitted(b.resend+1, 9)
	}
	if err := b.check(); err != nil {
		t.Fatal(err)
	}
	b.loseAll()
	if b.pipe() != 0 || b.lost+b.sacked != b.flight() {
		t.Errorf("after the timer: pipe %d", b.pipe())
	}
}

// A flight of many segments may have a span for each: every second segment of a long fast path's may be lost at once.
func TestScoreboardLarge(t *testing.T) {
	var b scoreboard
	b.reset(0)
	const n = 8000
	for i := range n {
		b.transmitted(Seq(1000*(i+1)), sched.Time(i))
	}
	for i := 1; i < n; i += 2 {
		b.sack(Seq(1000*i), Seq(1000*(i+1)), &delivery{})
	}
	if b.spans() != n || b.sacked != n/2*1000 {
		t.Errorf("%d spans, %d bytes SACKed", b.spans(), b.sacked)
	}
	if err := b.check(); err != nil {
		t.Error(err)
	}
}
