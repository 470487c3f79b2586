package packet

import (
	"sync"
	"sync/atomic"

	"github.com/weirnet/weir/buffer"
)

// Pool gives out packets; safe for concurrent use. A nil *Pool is ready, and takes all memory from the heap.
type Pool struct {
	buffers *buffer.Pool
	free    sync.Pool     // of *Packet: a list a processor, which the garbage collector empties when it is not used
	next    atomic.Uint32 // shard of the next new packet
	out     [shards]counter
}

// shards is how many cache lines the count of what is out is spread over. A packet keeps to one of them for life.
const shards = 16

type counter struct {
	atomic.Int64
	_ [120]byte
}

// NewPool returns an empty pool of packets whose payload comes from b; nil is the heap. It checks use after release if b does.
func NewPool(b *buffer.Pool) *Pool { return &Pool{buffers: b} }

// Buffers returns where payload comes from.
func (p *Pool) Buffers() *buffer.Pool {
	if p == nil {
		return nil
	}
	return p.buffers
}

// Get returns an empty packet, one owner. Its payload rope takes chunks from the pool's buffer.Pool.
func (p *Pool) Get() *Packet {
	if p == nil {
		q := new(Packet)
		q.reset()
		return q
	}
	q, _ := p.free.Get().(*Packet)
	if q == nil {
		q = &Packet{pool: p, shard: uint8(p.next.Add(1) % shards)}
		q.data.SetPool(p.buffers)
	}
	q.reset()
	q.released = false
	p.out[q.shard].Add(1)
	return q
}

// Outstanding returns how many packets are out. While other goroutines use the pool it is a sum of counters read one after the other.
func (p *Pool) Outstanding() int {
	if p == nil {
		return 0
	}
	var n int64
	for i := range p.out {
		n += p.out[i].Load()
	}
	return int(n)
}

// poison is what the header block of a released packet is filled with in a checking pool.
const poison = 0xdb

// Release gives the packet and its payload's references back. Twice panics: always in a checking pool, which never gives a packet out
// again, else until it is given out again.
func (p *Packet) Release() {
	if p.released {
		panic("packet: Release of a packet that was released before")
	}
	p.released = true
	p.data.Clear()
	if p.aside != nil {
		p.aside.Clear()
	}
	pool := p.pool
	if pool == nil {
		return
	}
	pool.out[p.shard].Add(-1)
	if pool.buffers.Checking() {
		for i := range p.block {
			p.block[i] = poison
		}
		return
	}
	pool.free.Put(p)
}
