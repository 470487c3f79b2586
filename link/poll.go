package link

import (
	"errors"
	"os"
	"slices"
	"strconv"
	"sync"

	"github.com/weirnet/weir/internal/during"
	"github.com/weirnet/weir/packet"
)

// BatchReader is a source of packets that blocks: a device file, a socket.
type BatchReader interface {
	// ReadPackets waits for packets of a queue and puts them at the front of batch: at least one if err is nil. They become the
	// caller's. An error ends the reading of this queue: what passes by itself the reader tries again itself. After Close it is
	// ErrClosed, or one that wraps os.ErrClosed. One goroutine a queue calls it.
	ReadPackets(queue int, batch []*packet.Packet) (n int, err error)
	// Close makes every ReadPackets return, those that wait too.
	Close() error
}

// pollBatch is how many packets one ReadPackets may bring. More would hold back the first of them for the sake of the last.
const pollBatch = 64

// Poll reads queues 0 to queues-1 of r, each in a goroutine of its own, and delivers what it reads to s with Received and Queue set.
// Stop closes r and waits for the goroutines, so that nothing is delivered after it; it returns what went wrong: errors of ReadPackets
// other than those of closing, and that of Close. It may be called again, from many goroutines, but not from inside s.Deliver.
func Poll(r BatchReader, queues int, s Sink) (stop func() error) {
	var readers sync.WaitGroup
	ends := make([]error, queues)
	for queue := range queues {
		readers.Go(func() { ends[queue] = pollQueue(r, queue, s) })
	}
	var once sync.Once
	var closing error
	return func() error {
		once.Do(func() { closing = r.Close() })
		readers.Wait()
		return errors.Join(append(slices.Clone(ends), closing)...)
	}
}

// pollQueue delivers what one queue brings until reading ends, and returns why, nil if by closing.
func pollQueue(r BatchReader, queue int, s Sink) error {
	batch := make([]*packet.Packet, pollBatch)
	for {
		n, err := r.ReadPackets(queue, batch)
		if n > 0 {
			deliver(queue, batch[:n], s)
			clear(batch[:n]) // what is another's must not stay reachable from here
		}
		switch {
		case errors.Is(err, ErrClosed), errors.Is(err, os.ErrClosed):
			return nil
		case err != nil:
			return during.Error("link: reading packets of queue "+strconv.Itoa(queue), err)
		}
	}
}

func deliver(queue int, batch []*packet.Packet, s Sink) {
	if s.Deliver == nil {
		for _, p := range batch {
			p.Release()
		}
		return
	}
	for _, p := range batch {
		p.Queue = uint16(queue)
	}
	if s.Clock != nil {
		now := s.Clock.Now()
		for _, p := range batch {
			p.Received = now
		}
	}
	s.Deliver(queue, batch)
}
