package weir

import (
	"runtime"
	"sync/atomic"
)

// streams gives the streams of one process the processors in turn. A Write goes on until the send queue is full; over a pipe it thereby
// fills the far end's receive window, megabytes, while the reader, who is ready to run, waits for a processor. The windows of many streams
// are in no cache: eight of them moved two thirds of what one does. So when several write, each lets others run after turnBytes: the reader
// then finds what it copies in the cache of the processor that has put it there. A single writer has its reader beside it on another
// processor, and goes on.
type streams struct {
	writing atomic.Int32  // writers of much that are in a Write
	written atomic.Uint64 // bytes by them
}

const (
	streamWrite = 16 << 10  // bytes in a Write that is one of a stream
	turnBytes   = 256 << 10 // written between two turns: with the writer's and the reader's copy it is in a cache of the second level
)

// begin is the beginning of a Write of size bytes.
func (s *streams) begin(size int) {
	if size >= streamWrite {
		s.writing.Add(1)
	}
}

// end is its end, when n bytes are queued; no lock is held.
func (s *streams) end(size, n int) {
	if size < streamWrite {
		return
	}
	others := s.writing.Add(-1) > 0
	if total := s.written.Add(uint64(n)); others && total/turnBytes != (total-uint64(n))/turnBytes {
		runtime.Gosched()
	}
}
