// Package gitops tests what GitOps tools make of Kilonova's objects: kstatus,
// by which Flux, kpt and Helm decide, and the health check for Argo CD. Both
// are run on the same objects, which a test of the controllers writes with the
// code that computes the real ones.
package gitops

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
	"sigs.k8s.io/yaml"
)

// An expected verdict of each tool on an object.
type fixture struct {
	Kstatus string                    `json:"kstatus"`
	ArgoCD  string                    `json:"argocd"`
	Object  unstructured.Unstructured `json:"object"`
}

// fixtures reads all objects, by file and state.
func fixtures(t *testing.T) map[string]fixture {
	t.Helper()
	files, err := filepath.Glob("fixtures/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no fixtures: %v", err)
	}
	all := map[string]fixture{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		states := map[string]fixture{}
		if err := json.Unmarshal(text, &states); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for state, fixture := range states {
			all[strings.TrimSuffix(filepath.Base(file), ".json")+"/"+state] = fixture
		}
	}
	return all
}

func TestKstatus(t *testing.T) {
	for name, want := range fixtures(t) {
		t.Run(name, func(t *testing.T) {
			got, err := status.Compute(&want.Object)
			if err != nil {
				t.Fatal(err)
			}
			if got.Status.String() != want.Kstatus {
				t.Errorf("%s (%s), want %s", got.Status, got.Message, want.Kstatus)
			}
		})
	}
}

func TestArgoCD(t *testing.T) {
	script, err := os.ReadFile("argocd/health.lua")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range fixtures(t) {
		t.Run(name, func(t *testing.T) {
			got, err := health(string(script), want.Object.Object)
			if err != nil {
				t.Fatal(err)
			}
			if got != want.ArgoCD {
				t.Errorf("%s, want %s", got, want.ArgoCD)
			}
		})
	}
}

// The ConfigMap that people apply carries the very script that is tested.
func TestConfigMapHasTheScript(t *testing.T) {
	script, err := os.ReadFile("argocd/health.lua")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("argocd/argocd-cm.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var configMap struct {
		Data map[string]string `json:"data"`
	}
	if err := yaml.Unmarshal(text, &configMap); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"Instance", "Network", "Image", "ClusterImage", "KeyPair", "Hypervisor"} {
		if configMap.Data["resource.customizations.health.kilonova.dev_"+kind] != string(script) {
			t.Errorf("argocd/argocd-cm.yaml has another script for %s than argocd/health.lua", kind)
		}
	}
}

// health runs the script as Argo CD does: with the object as the global obj,
// the libraries base and table, and a table with status and message as result.
func health(script string, object map[string]any) (string, error) {
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	for name, open := range map[string]lua.LGFunction{
		lua.BaseLibName: lua.OpenBase,
		lua.TabLibName:  lua.OpenTable,
	} {
		state.Push(state.NewFunction(open))
		state.Push(lua.LString(name))
		state.Call(1, 0)
	}
	state.SetGlobal("obj", value(state, object))
	if err := state.DoString(script); err != nil {
		return "", err
	}
	result, ok := state.Get(-1).(*lua.LTable)
	if !ok {
		return "", fmt.Errorf("the result is no table: %v", state.Get(-1))
	}
	if _, ok := result.RawGetString("message").(lua.LString); !ok {
		return "", fmt.Errorf("no message")
	}
	status := result.RawGetString("status").String()
	switch status {
	case "Healthy", "Progressing", "Degraded", "Suspended", "Missing", "Unknown":
		return status, nil
	}
	return "", fmt.Errorf("Argo CD knows no health %q", status)
}

// value is a JSON value as Lua has it.
func value(state *lua.LState, from any) lua.LValue {
	switch from := from.(type) {
	case bool:
		return lua.LBool(from)
	case int64:
		return lua.LNumber(from)
	case float64:
		return lua.LNumber(from)
	case string:
		return lua.LString(from)
	case []any:
		table := state.CreateTable(len(from), 0)
		for _, item := range from {
			table.Append(value(state, item))
		}
		return table
	case map[string]any:
		table := state.CreateTable(0, len(from))
		for key, item := range from {
			table.RawSetString(key, value(state, item))
		}
		return table
	}
	return lua.LNil
}
