package buffer

import (
	"strings"
	"testing"
)

func TestCheckReleasedChunk(t *testing.T) {
	p := NewPool(Options{Check: true})
	c := p.Get(10)
	memory := c.Data()
	memory[0] = 1
	c.Release()
	mustPanic(t, "released before", c.Release)
	mustPanic(t, "after its release", c.Retain)
	mustPanic(t, "after its release", func() { c.Data() })
	for i, b := range memory {
		if b != poison {
			t.Fatalf("byte %d is %#02x, not poison", i, b)
		}
	}
	if d := p.Get(10); &d.Data()[0] == &memory[0] {
		t.Error("released memory was given out again")
	}
}

// A rope whose chunk somebody else released too often does not give out its memory.
func TestCheckUseAfterReleaseThroughARope(t *testing.T) {
	p := NewPool(Options{Check: true})
	var b Buffer
	b.AppendChunk(p.Get(10), 0, 5, false)
	b.pieces()[0].chunk.Release()
	mustPanic(t, "out of range", func() { b.Flatten() })
	mustPanic(t, "out of range", func() { b.ReadAt(make([]byte, 1), 0) })
	mustPanic(t, "out of range", func() { b.Vec(nil) })
	mustPanic(t, "released before", b.Release)
}

func TestCheckWriteAfterRelease(t *testing.T) {
	p := NewPool(Options{Check: true})
	c := p.Get(10)
	memory := c.Data()
	c.Release()
	memory[3] = 1
	mustPanic(t, "byte 3 of a chunk was written after its release", func() { p.Leaked() })
	mustPanic(t, "byte 3 of a chunk was written after its release", func() {
		for range quarantined + 1 {
			p.Get(10).Release()
		}
	})
}

// However bytes are shared, a change of them is found when a reference is given back.
func TestCheckPublishedBytes(t *testing.T) {
	for name, share := range map[string]func(b, dst *Buffer){
		"ShareTo": func(b, dst *Buffer) { b.ShareTo(dst, 0, 5) },
		"Clone":   func(b, dst *Buffer) { dst.Merge(b.Clone()) },
		"Publish": func(b, dst *Buffer) { b.Publish(dst) },
		"twice":   func(b, dst *Buffer) { b.ShareTo(dst, 0, 3); b.ShareTo(dst, 2, 3) },
	} {
		for _, first := range []bool{false, true} {
			p := NewPool(Options{Check: true})
			var b, dst Buffer
			b.SetPool(p)
			b.Append([]byte("abcde"))
			memory := b.pieces()[0].chunk.Data()
			share(&b, &dst)
			memory[5] = 'x' // unpublished
			memory[4] = 'x'
			mustPanic(t, "published byte 4 of a chunk changed", func() {
				if first {
					b.Release()
				} else {
					dst.Release()
				}
			})
			if t.Failed() {
				t.Fatalf("%s, original first: %v", name, first)
			}
		}
	}
}

// A changed byte is found too when it is shared once more, and when a rope that is alone again claims the chunk.
func TestCheckPublishedBytesLater(t *testing.T) {
	p := NewPool(Options{Check: true})
	var b, dst Buffer
	b.SetPool(p)
	b.Append([]byte("abcde"))
	b.ShareTo(&dst, 0, 5)
	b.pieces()[0].chunk.Data()[1] = 'x'
	mustPanic(t, "published byte 1", func() { b.ShareTo(&dst, 1, 1) })
}

// What nobody shares any more may be changed again.
func TestCheckAllowsChangesAfterSharing(t *testing.T) {
	p := checked(t)
	var b, dst Buffer
	b.SetPool(p)
	b.Append([]byte("abcde"))
	b.ShareTo(&dst, 0, 5)
	dst.Release()
	b.Writable(0, 5)
	b.pieces()[0].chunk.Data()[1] = 'x'
	b.ShareTo(&dst, 1, 3)
	b.Release()
	if text(&dst) != "xcd" {
		t.Errorf("%q", text(&dst))
	}
	dst.Release()
}

func TestLeaked(t *testing.T) {
	p := NewPool(Options{Check: true})
	c := p.Get(300)
	var b Buffer
	b.SetPool(p)
	b.AppendOwned(make([]byte, 1000))
	err := p.Leaked()
	if err == nil || !strings.Contains(err.Error(), "2 chunks of 3048 bytes") || !strings.Contains(err.Error(), "TestLeaked") {
		t.Errorf("%v", err)
	}
	c.Release()
	b.Release()
	if err := p.Leaked(); err != nil {
		t.Error(err)
	}
	plain := NewPool(Options{})
	c = plain.Get(1)
	if err := plain.Leaked(); err == nil || !strings.Contains(err.Error(), "1 chunks of 256 bytes") {
		t.Errorf("%v", err)
	}
	c.Release()
	if !p.Checking() || plain.Checking() || (*Pool)(nil).Checking() {
		t.Error("Checking")
	}
}
