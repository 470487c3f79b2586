package tcp_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/weirnet/weir/tcp/tcptest"
)

func TestScratchTrace(t *testing.T) {
	link := tcptest.Link{Delay: 10 * time.Millisecond, Loss: .001, Rate: 100e6, Queue: 250000}
	n := tcptest.New(tcptest.Options{Seed: 1, AtoB: link, BtoA: link, A: tcptest.Traffic{Send: 32 << 20}, Trace: true})
	err := n.Run()
	fmt.Println(err)
	fmt.Printf("%+v\n", n.End[1].Conn.Info())
	for i, l := range n.Trace {
		if  i > len(n.Trace)-60 {
			fmt.Println(l)
		}
	}
}
