// CRI-O's side of CNI, without CRI-O: its own library, called as its server calls it
// (server/sandbox_network.go and internal/config/cnimgr of CRI-O 1.34).
//
//	ocicni CONF_DIR BIN_DIR VERB <PodNetwork as JSON, or a list of those that stay for gc
//
// VERB is status, add, check, del or gc. Prints what add and check come to, as JSON.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/cri-o/ocicni/pkg/ocicni"
)

func main() {
	if err := run(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(confDir, binDir, verb string) error {
	ctx := context.Background()
	plugin, err := ocicni.InitCNI("", confDir, binDir)
	if err != nil {
		return err
	}
	defer plugin.Shutdown()
	if err := plugin.StatusWithContext(ctx); err != nil || verb == "status" {
		return err
	}
	if verb == "gc" {
		var stay []*ocicni.PodNetwork
		if err := json.NewDecoder(os.Stdin).Decode(&stay); err != nil {
			return err
		}
		return plugin.GC(ctx, stay)
	}
	var pod ocicni.PodNetwork
	if err := json.NewDecoder(os.Stdin).Decode(&pod); err != nil {
		return err
	}
	switch verb {
	case "add":
		return show(plugin.SetUpPodWithContext(ctx, pod))
	case "check":
		return show(plugin.GetPodNetworkStatusWithContext(ctx, pod))
	case "del":
		return plugin.TearDownPodWithContext(ctx, pod)
	}
	return fmt.Errorf("cannot %s: there are status, add, check, del and gc", verb)
}

func show(results []ocicni.NetResult, err error) error {
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(results)
}
