package sandbox

import "os"

// network is what is behind the TUN device.
type network struct {
	serve func(tun *os.File) (stop func(), err error) // what tests put in place of the stack
}

// start serves the TUN device, until stop is called.
func (n *network) start(_ *Cmd, tun *os.File) (stop func(), err error) {
	return n.serve(tun)
}
