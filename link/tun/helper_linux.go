package tun

import (
	"sync/atomic"

	"github.com/weirnet/weir/packet"
)

// ahead is how many batches a reader may be ahead of its helper.
const ahead = 2

// batch is packets in the order in which they were read.
type batch struct {
	packets [batchPackets]*packet.Packet
	n       int
}

// helper delivers what a reader of plain packets reads while more of them wait, so that it can read on meanwhile. To deliver may take as
// long as to read: the kernel takes an ACK, and sends what that makes room for, in the thread that writes it.
type helper struct {
	full, empty chan *batch  // to the helper, and back
	pending     atomic.Int32 // batches that were handed over and are not delivered yet
	ended       chan struct{}
}

// pass delivers the n packets of the reader's batch: at once if there are no more now (nobody is to be woken for a few), or else by the
// helper. What it has not delivered comes first.
func (r *reader) pass(n int, more bool) {
	h := r.helper
	if r.device.vnet || !more && (h == nil || h.pending.Load() == 0) {
		r.deliver(r.batch.packets[:n])
		return
	}
	if h == nil {
		h = r.startHelp()
	}
	r.batch.n = n
	h.pending.Add(1)
	h.full <- r.batch
	r.batch = <-h.empty
}

// startHelp starts the reader's helper, which stays until the reader ends.
func (r *reader) startHelp() *helper {
	h := &helper{full: make(chan *batch, ahead), empty: make(chan *batch, ahead+1), ended: make(chan struct{})}
	for range ahead {
		h.empty <- &batch{}
	}
	r.helper = h
	r.device.tasks.Go(func() {
		defer close(h.ended)
		for b := range h.full {
			r.deliver(b.packets[:b.n])
			h.pending.Add(-1)
			h.empty <- b
		}
	})
	return h
}

// endHelp waits until everything is delivered.
func (r *reader) endHelp() {
	if r.helper != nil {
		close(r.helper.full)
		<-r.helper.ended
	}
}
