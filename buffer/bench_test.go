package buffer

import (
	"fmt"
	"testing"
)

func BenchmarkPoolGetRelease(b *testing.B) {
	for _, n := range []int{256, 2048, 16384, 66048} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			p := NewPool(Options{})
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					p.Get(n).Release()
				}
			})
		})
	}
}

// One goroutine takes, another gives back: what a stack does between two ends of a pipe.
func BenchmarkPoolHandover(b *testing.B) {
	p := NewPool(Options{})
	ch := make(chan [32]*Chunk, 64)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for batch := range ch {
			for _, c := range batch {
				c.Release()
			}
		}
	}()
	b.ReportAllocs()
	for i := 0; i < b.N; i += 32 {
		var batch [32]*Chunk
		for k := range batch {
			batch[k] = p.Get(2048)
		}
		ch <- batch
	}
	close(ch)
	<-done
}

// full returns a rope as a send queue holds it: size bytes in chunks of 64 KiB.
func full(p *Pool, size int) *Buffer {
	b := &Buffer{}
	b.SetPool(p)
	for b.Size() < size {
		c := p.Get(class64K)
		b.AppendChunk(c, 0, 65536, false)
	}
	return b
}

func BenchmarkShareTo(b *testing.B) {
	p := NewPool(Options{})
	q := full(p, 1<<20)
	for _, n := range []int{1448, 65536} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			var dst Buffer
			for i := 0; b.Loop(); i++ {
				q.ShareTo(&dst, i*n%(q.Size()-n), n)
				dst.Clear()
			}
		})
	}
}

func BenchmarkPublish(b *testing.B) {
	for _, n := range []int{1, 1448, 16384} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			p := NewPool(Options{})
			var w, q Buffer
			w.SetPool(p)
			text := make([]byte, n)
			b.SetBytes(int64(n))
			b.ReportAllocs()
			for b.Loop() {
				w.Append(text)
				w.Publish(&q)
				if q.Size() > 1<<20 {
					q.TrimFront(1 << 19)
				}
			}
		})
	}
}

func BenchmarkMoveTo(b *testing.B) {
	p := NewPool(Options{})
	q := full(p, 1<<20)
	b.ReportAllocs()
	var dst Buffer
	for b.Loop() {
		q.MoveTo(&dst, 1448)
		dst.MoveTo(q, 1448)
	}
}

func BenchmarkReadAtTrimFront(b *testing.B) {
	p := NewPool(Options{})
	c := p.Get(class2K)
	q := &Buffer{}
	head := make([]byte, 20)
	b.ReportAllocs()
	for b.Loop() {
		c.Retain()
		q.AppendChunk(c, 0, 1500, false)
		q.ReadAt(head, 0)
		q.TrimFront(20)
		q.ReadAt(head, 0)
		q.TrimFront(20)
		q.Clear()
	}
}
