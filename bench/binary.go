package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// overNet is a program's size beyond one that does the same with Go's net, in MB.
const overNet = "over Go's net, MB"

// binarySize builds the program of a peer (see binary/), as people do who want it small, and gives its size.
func binarySize(s setup, _ options) (sample, error) {
	if _, err := os.Stat("binary"); err != nil {
		return sample{}, errors.Join(errSkip, errors.New("run it in the directory bench of weir's source"))
	}
	dir, err := os.MkdirTemp("", "weir-binary")
	if err != nil {
		return sample{}, err
	}
	defer os.RemoveAll(dir)
	size := func(name string) (mb float64, err error) {
		file := filepath.Join(dir, name)
		if out, err := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", file, "./binary/"+name).CombinedOutput(); err != nil {
			return 0, fmt.Errorf("go build ./binary/%s: %w\n%s", name, err, out)
		}
		st, err := os.Stat(file)
		if err != nil {
			return 0, err
		}
		return float64(st.Size()) / 1e6, nil
	}
	base, err := size("net")
	if err != nil {
		return sample{}, err
	}
	own, err := size(programs[s.name])
	return sample{Value: own, More: map[string]float64{overNet: own - base}}, err
}

// programs are the directories under binary/.
var programs = map[string]string{"weir": "weir", "gvisor/pipe": "gvisor", "kernel/net": "net", "nothing": "nothing"}
