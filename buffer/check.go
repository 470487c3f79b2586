package buffer

import (
	"bytes"
	"errors"
	"runtime"
	"strconv"
	"strings"
	"sync"
)

// poison is what released memory is filled with under Options.Check, and fresh what memory is filled with when it is given out.
const (
	poison = 0xdb
	fresh  = 0xa5
)

// quarantined is how many released chunks a checking pool keeps, to see whether somebody still writes to them.
const quarantined = 64

// checker is what a Pool with Options.Check does beside. It is an interface so that a program whose pools all do without is not linked with
// it: NewPool is inlined, and what makes a poolCheck with it.
type checker interface {
	taken(c *Chunk)                   // out of the pool
	beforeRelease(c *Chunk)           // a reference is about to be given back
	returned(c *Chunk)                // into the pool
	publish(c *Chunk, begin, end int) // these bytes are shared from now on
	unpublish(c *Chunk)               // nobody but one rope can see the chunk now
	leaked() (where string)
}

// poolCheck is the part of a Pool that Options.Check adds.
type poolCheck struct {
	mu         sync.Mutex
	out        map[*Chunk]struct{}
	quarantine [quarantined]*Chunk
	next       int
}

func newPoolCheck() *poolCheck { return &poolCheck{out: map[*Chunk]struct{}{}} }

// chunkCheck is the part of a Chunk that Options.Check adds: who took it, and what its published bytes were when they were published.
type chunkCheck struct {
	taken     [8]uintptr // callers of Get
	mu        sync.Mutex
	memory    []byte // the chunk's memory, which the chunk itself forgets on release
	shadow    []byte // copy of the published bytes, each at its place
	published []Range
}

func (p *poolCheck) taken(c *Chunk) {
	c.check = &chunkCheck{memory: c.data}
	runtime.Callers(3, c.check.taken[:])
	if c.class != notPooled {
		fill(c.data, fresh)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.out[c] = struct{}{}
}

// returned poisons the memory of c, takes it away from c, so that use panics, and keeps it to see whether it is written to.
func (p *poolCheck) returned(c *Chunk) {
	fill(c.check.memory, poison)
	c.data = nil
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.out, c)
	if old := p.quarantine[p.next]; old != nil {
		old.check.mustBePoison()
	}
	p.quarantine[p.next] = c
	p.next = (p.next + 1) % quarantined
}

func (k *chunkCheck) mustBePoison() {
	if m := k.memory; len(m) > 0 && m[0] == poison && bytes.Equal(m[1:], m[:len(m)-1]) {
		return
	}
	for i, b := range k.memory {
		if b != poison {
			panic("buffer: byte " + strconv.Itoa(i) + " of a chunk was written after its release; the chunk was taken by\n" + k.caller())
		}
	}
}

// beforeRelease verifies all published bytes, and that there is a reference to release.
func (p *poolCheck) beforeRelease(c *Chunk) {
	if c.refs.Load() <= 0 {
		panic("buffer: Release of a chunk that was released before; it was taken by\n" + c.check.caller())
	}
	c.check.verify()
}

// publish notes what the bytes in [begin, end) are: from now on they may not change.
func (p *poolCheck) publish(c *Chunk, begin, end int) {
	k := c.check
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.shadow == nil {
		k.shadow = make([]byte, len(k.memory))
	}
	at := Range{begin, end}
	for _, r := range k.published {
		if s := r.Intersect(at); s.Len() > 0 {
			k.compare(s)
		}
	}
	copy(k.shadow[begin:end], k.memory[begin:end])
	k.add(at)
}

// add joins a range to the published ones.
func (k *chunkCheck) add(at Range) {
	rest := k.published[:0]
	for _, r := range k.published {
		if r.End < at.Begin || at.End < r.Begin {
			rest = append(rest, r)
			continue
		}
		at = Range{min(r.Begin, at.Begin), max(r.End, at.End)}
	}
	k.published = append(rest, at)
}

// unpublish forgets what was published.
func (p *poolCheck) unpublish(c *Chunk) {
	k := c.check
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, r := range k.published {
		k.compare(r)
	}
	k.published = k.published[:0]
}

func (k *chunkCheck) verify() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, r := range k.published {
		k.compare(r)
	}
}

func (k *chunkCheck) compare(r Range) {
	was, is := k.shadow[r.Begin:r.End], k.memory[r.Begin:r.End]
	if bytes.Equal(was, is) {
		return
	}
	i := 0
	for was[i] == is[i] {
		i++
	}
	panic("buffer: published byte " + strconv.Itoa(r.Begin+i) + " of a chunk changed from " + strconv.Itoa(int(was[i])) + " to " +
		strconv.Itoa(int(is[i])) + "; the chunk was taken by\n" + k.caller())
}

// caller describes who took the chunk.
func (k *chunkCheck) caller() string {
	var s strings.Builder
	frames := runtime.CallersFrames(k.taken[:])
	for {
		f, more := frames.Next()
		if f.Function != "" {
			s.WriteString("\t" + f.Function + " (" + f.File + ":" + strconv.Itoa(f.Line) + ")\n")
		}
		if !more {
			return s.String()
		}
	}
}

// Leaked returns an error if chunks are out: how many, their capacity and, in a checking pool, where some of them were taken. A
// checking pool also makes sure that nobody has written to memory released last, and panics if so. Call it when all who used the pool
// have ended.
func (p *Pool) Leaked() error {
	chunks, capacity := p.Outstanding()
	where := ""
	if p.Checking() {
		where = p.check.leaked()
	}
	if chunks == 0 {
		return nil
	}
	return errors.New("buffer: " + strconv.Itoa(chunks) + " chunks of " + strconv.FormatInt(capacity, 10) + " bytes in all were not released" + where)
}

// leaked verifies what was released last, and says where some of the chunks that are out were taken.
func (p *poolCheck) leaked() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.quarantine {
		if c != nil {
			c.check.mustBePoison()
		}
	}
	var where strings.Builder
	shown := 0
	for c := range p.out {
		if shown++; shown > 3 {
			break
		}
		where.WriteString("; one of " + strconv.Itoa(len(c.data)) + " bytes was taken by\n" + c.check.caller())
	}
	return where.String()
}

func fill(b []byte, with byte) {
	if len(b) > 0 {
		b[0] = with
	}
	for n := 1; n < len(b); n *= 2 {
		copy(b[n:], b[:n])
	}
}
