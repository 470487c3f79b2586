package port_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/weirnet/weir/link"
	"github.com/weirnet/weir/link/internal/port"
)

func TestAttachOnce(t *testing.T) {
	var p port.Port
	if p.Enter() != nil {
		t.Error("entered a port without a sink")
	}
	if err := p.Attach(link.Sink{}); err != nil {
		t.Fatal(err)
	}
	if err := p.Attach(link.Sink{}); !errors.Is(err, link.ErrAttached) {
		t.Errorf("second Attach: %v", err)
	}
	p.Close()
	p.Close()
	if err := p.Attach(link.Sink{}); !errors.Is(err, link.ErrClosed) {
		t.Errorf("Attach after Close: %v", err)
	}
	if p.Enter() != nil || !p.Closed() {
		t.Error("entered a closed port")
	}
}

func TestCloseWaitsAndNestedEntryDoesNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p port.Port
		p.Attach(link.Sink{})
		for range 2 {
			if p.Enter() == nil {
				t.Fatal("cannot enter twice")
			}
		}
		var closed atomic.Int32
		for range 3 {
			go func() { p.Close(); closed.Add(1) }()
		}
		synctest.Wait()
		if p.Enter() != nil { // must neither succeed nor wait
			t.Error("entered while closing")
		}
		p.Exit()
		synctest.Wait()
		if closed.Load() != 0 {
			t.Error("Close returned with a call inside")
		}
		p.Exit()
		synctest.Wait()
		if closed.Load() != 3 {
			t.Errorf("%d of 3 Close returned", closed.Load())
		}
	})
}

func TestNobodyInsideAfterClose(t *testing.T) {
	for range 1000 {
		var p port.Port
		p.Attach(link.Sink{})
		var over, late atomic.Bool
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				for p.Enter() != nil {
					for range 100 {
						if over.Load() {
							late.Store(true)
						}
					}
					p.Exit()
				}
			})
		}
		p.Close()
		over.Store(true)
		wg.Wait()
		if late.Load() {
			t.Fatal("somebody inside after Close")
		}
	}
}

func TestMTU(t *testing.T) {
	for _, c := range []struct{ option, want int }{
		{0, 1500}, {-1, 576}, {1, 576}, {576, 576}, {1280, 1280}, {65535, 65535}, {65536, 65535},
	} {
		if got := port.MTU(c.option, 1500); got != c.want {
			t.Errorf("MTU(%d) = %d, want %d", c.option, got, c.want)
		}
	}
}
