package packet

import (
	"testing"

	"github.com/weirnet/weir/buffer"
)

func BenchmarkGetPushRelease(b *testing.B) {
	pool := NewPool(buffer.NewPool(buffer.Options{}))
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			p := pool.Get()
			p.Push(Transport, 32)
			p.Push(Network, 20)
			p.Release()
		}
	})
}

func BenchmarkGetPushShareRelease(b *testing.B) {
	bufs := buffer.NewPool(buffer.Options{})
	pool := NewPool(bufs)
	var q buffer.Buffer
	q.SetPool(bufs)
	q.Append(make([]byte, 65536))
	b.ReportAllocs()
	for b.Loop() {
		p := pool.Get()
		q.ShareTo(p.Data(), 4096, 1448)
		p.Push(Transport, 32)
		p.Push(Network, 20)
		p.Release()
	}
}

func BenchmarkDeliverConsume(b *testing.B) {
	pool := NewPool(buffer.NewPool(buffer.Options{}))
	b.ReportAllocs()
	for b.Loop() {
		p := pool.Get()
		p.Push(Transport, 32)
		p.Push(Network, 20)
		p.Deliverable()
		p.Peek(20)
		p.Consume(Network, 20)
		p.Consume(Transport, 32)
		p.Release()
	}
}

func BenchmarkReadConsume(b *testing.B) {
	bufs := buffer.NewPool(buffer.Options{})
	pool := NewPool(bufs)
	b.ReportAllocs()
	for b.Loop() {
		p := pool.Get()
		p.Data().AppendChunk(bufs.Get(2048), 0, 1500, false)
		p.Consume(Network, 20)
		p.Consume(Transport, 32)
		p.Data()
		p.Release()
	}
}
