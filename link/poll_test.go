package link_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/weirnet/weir/link"
	"github.com/weirnet/weir/packet"
	"github.com/weirnet/weir/sched"
)

// reader gives what is sent to its queues.
type reader struct {
	queues []chan *packet.Packet
	fail   chan error
	closed chan bool
	once   sync.Once
	end    error // what reading answers when closed
}

func newReader(queues int) *reader {
	r := &reader{fail: make(chan error), closed: make(chan bool), end: fmt.Errorf("read: %w", os.ErrClosed)}
	for range queues {
		r.queues = append(r.queues, make(chan *packet.Packet))
	}
	return r
}

func (r *reader) ReadPackets(queue int, batch []*packet.Packet) (int, error) {
	select {
	case p := <-r.queues[queue]:
		batch[0] = p
		return 1, nil
	case err := <-r.fail:
		batch[0] = (*packet.Pool)(nil).Get()
		return 1, err
	case <-r.closed:
		return 0, r.end
	}
}

func (r *reader) Close() error {
	r.once.Do(func() { close(r.closed) })
	return nil
}

func TestPollDelivers(t *testing.T) {
	defer goleak.VerifyNone(t)
	synctest.Test(t, func(t *testing.T) {
		clock := sched.Real()
		r := newReader(3)
		var got [3]atomic.Int32
		stop := link.Poll(r, 3, link.Sink{Clock: clock, Deliver: func(queue int, batch []*packet.Packet) {
			for _, p := range batch {
				if p.Queue != uint16(queue) || p.Received != clock.Now() {
					t.Errorf("queue %d: %+v", queue, p.Meta)
				}
				got[queue].Add(1)
			}
		}})
		time.Sleep(time.Minute)
		for i := range 6 {
			r.queues[i/2] <- (*packet.Pool)(nil).Get()
		}
		synctest.Wait()
		if got[0].Load() != 2 || got[1].Load() != 2 || got[2].Load() != 2 {
			t.Error("not every packet delivered on its queue")
		}
		if err := stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
		if err := stop(); err != nil {
			t.Errorf("stop again: %v", err)
		}
	})
}

func TestPollStopIsBarrier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReader(1)
		r.end = link.ErrClosed
		leave := make(chan bool)
		stop := link.Poll(r, 1, link.Sink{Deliver: func(int, []*packet.Packet) { <-leave }})
		r.queues[0] <- (*packet.Pool)(nil).Get()
		var stopped atomic.Int32
		for range 2 {
			go func() { stop(); stopped.Add(1) }()
		}
		synctest.Wait()
		if stopped.Load() != 0 {
			t.Error("stop returned during a delivery")
		}
		close(leave)
		synctest.Wait()
		if stopped.Load() != 2 {
			t.Error("stop did not return")
		}
	})
}

func TestPollErrorEndsItsQueueAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := packet.NewPool(nil)
		r := newReader(2)
		stop := link.Poll(r, 2, link.Sink{}) // a nil Deliver releases
		broken := errors.New("device on fire")
		r.fail <- broken
		synctest.Wait()
		for range 3 {
			p := pool.Get()
			select { // one of the queues is still read
			case r.queues[0] <- p:
			case r.queues[1] <- p:
			}
		}
		err := stop()
		if !errors.Is(err, broken) || !strings.Contains(err.Error(), "queue") {
			t.Errorf("stop: %v", err)
		}
		if n := pool.Outstanding(); n != 0 {
			t.Errorf("%d packets leaked", n)
		}
	})
}
