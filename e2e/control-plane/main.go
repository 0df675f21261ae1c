// Command control-plane is the Kubernetes control plane of the end-to-end lab
// in one binary: etcd, kube-apiserver, kube-controller-manager, kube-scheduler
// and kubectl.
//
// The tests need real servers of a known version, and Go modules are a way to
// get them that needs neither container images nor release archives. Each part
// but etcd is upstream's own command, unchanged. They are one binary because
// nearly all of their code is shared, and so is compiled and linked once.
//
// A part is chosen by the first argument (control-plane kubectl get pods), or
// by the name the binary is called under, when that is a part's name (a
// symlink kubectl -> control-plane). Everything after it is the part's own.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	_ "time/tzdata" // time zones of CronJobs, on machines without a zone database

	_ "k8s.io/client-go/plugin/pkg/client/auth" // kubectl's credential plugins
	"k8s.io/component-base/cli"
	"k8s.io/component-base/logs"
	_ "k8s.io/component-base/logs/json/register"          // --logging-format=json
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // client-go's metrics
	_ "k8s.io/component-base/metrics/prometheus/version"  // the build_info metric
	"k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
)

// A part is one program of the control plane. Its run reads os.Args as a
// program of its own would, and returns the exit code.
//
// Upstream's commands are made inside run and nowhere earlier: making one
// installs signal handlers and registers global feature gates, both of which
// a process may do only once.
type part struct {
	name string
	run  func() int
}

var parts = []part{
	{"etcd", runEtcd},
	{"kube-apiserver", func() int { return cli.Run(apiserver.NewAPIServerCommand()) }},
	{"kube-controller-manager", func() int { return cli.Run(controllermanager.NewControllerManagerCommand()) }},
	{"kube-scheduler", func() int { return cli.Run(scheduler.NewSchedulerCommand()) }},
	{"kubectl", runKubectl},
}

// usageExitCode is what a wrong call exits with, as in package flag.
const usageExitCode = 2

func main() {
	chosen, args, err := choose(os.Args)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(usageExitCode)
	}
	os.Args = args
	os.Exit(chosen.run())
}

// choose finds the part that args, an os.Args, asks for, and returns it with
// the os.Args it shall see. The name the binary was called under goes before
// the first argument.
func choose(args []string) (part, []string, error) {
	for i := range min(len(args), 2) {
		name := filepath.Base(args[i])
		if at := slices.IndexFunc(parts, func(p part) bool { return p.name == name }); at >= 0 {
			return parts[at], args[i:], nil
		}
	}
	names := make([]string, len(parts))
	for i, p := range parts {
		names[i] = p.name
	}
	return part{}, nil, fmt.Errorf("usage: control-plane {%s} [argument...]", strings.Join(names, "|"))
}

// runKubectl does what upstream's main of kubectl does.
func runKubectl() int {
	// kubectl already logs while its command is being made, before any flag is
	// parsed, so the verbosity is looked up first. A bad value is reported when
	// the flags are parsed.
	_, _ = logs.GlogSetter(cmd.GetLogVerbosity(os.Args))
	if err := cli.RunNoErrOutput(cmd.NewDefaultKubectlCommand()); err != nil {
		util.CheckErr(err) // prints the error and exits with its code
	}
	return 0
}
