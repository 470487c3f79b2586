package main

import (
	"context"
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/stack/gro"
)

const (
	gvisorQueue = 16384 // packets on the way: all that the largest window holds, for what finds no room is lost
	gvisorBatch = 64    // packets after which GRO is flushed
)

// gvisorEnd is a link/channel that says how large its super-segments are, and where what comes in goes.
type gvisorEnd struct {
	*channel.Endpoint
	gsoMax     uint32
	dispatcher atomic.Pointer[stack.NetworkDispatcher]
}

func newGvisorEnd(o options, mac tcpip.LinkAddress) *gvisorEnd {
	return &gvisorEnd{Endpoint: channel.New(gvisorQueue, gvisorMTU(o), mac)}
}

// Attach implements stack.LinkEndpoint.
func (e *gvisorEnd) Attach(d stack.NetworkDispatcher) {
	e.dispatcher.Store(&d)
	e.Endpoint.Attach(d)
}

// GSOMaxSize implements stack.GSOEndpoint: link/channel's own is 32 KiB.
func (e *gvisorEnd) GSOMaxSize() uint32 { return e.gsoMax }

func openGvisorChannel(o options) (world, error) {
	return gvisorChannels(o, false, func(*gvisorEnd) {})
}

func openGvisorGSO(o options) (world, error) {
	return gvisorChannels(o, true, func(e *gvisorEnd) {
		e.SupportedGSOKind, e.gsoMax = stack.GVisorGSOSupported, stack.GVisorGSOMaxSize
		// GRO verifies, and leaves the headers of what it has joined with checksums that are no longer right.
		e.LinkEPCapabilities |= stack.CapabilityRXChecksumOffload
	})
}

func openGvisorHostGSO(o options) (world, error) {
	if o.MTU == 0 {
		o.MTU = 1500
	}
	return gvisorChannels(o, false, hostGSO)
}

// hostGSO leaves segmentation and checksums to the link.
func hostGSO(e *gvisorEnd) {
	e.SupportedGSOKind, e.gsoMax = stack.HostGSOSupported, stack.GVisorGSOMaxSize
	e.LinkEPCapabilities |= stack.CapabilityTXChecksumOffload | stack.CapabilityRXChecksumOffload
}

func gvisorChannels(o options, gro bool, adjust func(*gvisorEnd)) (world, error) {
	ea, eb := newGvisorEnd(o, macA), newGvisorEnd(o, macB)
	adjust(ea)
	adjust(eb)
	w, err := gvisorPair(ea, eb)
	if err != nil {
		return nil, err
	}
	go pump(ea, eb, gro)
	go pump(eb, ea, gro)
	return w, nil
}

// pump carries packets from one end to the other, as many at a time as there are, and has GRO join them if asked to.
func pump(from, to *gvisorEnd, join bool) {
	var g gro.GRO
	g.Init(join)
	g.Dispatcher = *to.dispatcher.Load()
	for {
		p := from.ReadContext(context.Background())
		for n := 0; p != nil; p = from.Read() {
			in := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: p.ToBuffer()})
			in.NetworkProtocolNumber = p.NetworkProtocolNumber
			p.DecRef()
			g.Enqueue(in)
			in.DecRef()
			if n++; n == gvisorBatch {
				break
			}
		}
		g.Flush()
	}
}
