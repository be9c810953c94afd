// The conformance suite of ClusterNetworkPolicy with timeouts of our own: upstream's entry point has no flags for them.
package conformance

import (
	"flag"
	"os"
	"testing"

	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"
	access "sigs.k8s.io/controller-runtime/pkg/client/config"
	"sigs.k8s.io/network-policy-api/apis/v1beta1"
	"sigs.k8s.io/network-policy-api/conformance/tests"
	"sigs.k8s.io/network-policy-api/conformance/utils/config"
	"sigs.k8s.io/network-policy-api/conformance/utils/flags"
	"sigs.k8s.io/network-policy-api/conformance/utils/suite"
	"sigs.k8s.io/yaml"
)

var (
	setupTimeout   = flag.Duration("setup-timeout", 0, "how long pods may take to be ready; as upstream has it where 0")
	pokeTimeout    = flag.Duration("poke-timeout", 0, "how long a verdict may take to be right; as upstream has it where 0")
	requestTimeout = flag.Duration("request-timeout", 0, "after which a probe has been dropped; as upstream has it where 0")
)

func options(t *testing.T) suite.Options {
	kubeconfig, err := access.GetConfig()
	if err != nil {
		t.Fatal(err)
	}
	clientSet, err := kubernetes.NewForConfig(kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	api, err := client.New(kubeconfig, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := v1beta1.Install(api.Scheme()); err != nil {
		t.Fatal(err)
	}
	// By the definition's annotation the suite sees that it is the one that it tests.
	if err := apiextensions.AddToScheme(api.Scheme()); err != nil {
		t.Fatal(err)
	}
	return suite.Options{
		Client: api, ClientSet: clientSet, KubeConfig: *kubeconfig,
		CleanupBaseResources: true,
		// By name, not by EnableAllSupportedFeatures: so the report lists them.
		SupportedFeatures: suite.AllFeatures.Clone(),
		TimeoutConfig: config.TimeoutConfig{
			NamespacesMustBeReady: *setupTimeout, PokeTimeout: *pokeTimeout, RequestTimeout: *requestTimeout,
		},
	}
}

func TestConformance(t *testing.T) {
	implementation, err := suite.ParseImplementation(*flags.ImplementationOrganization, *flags.ImplementationProject,
		*flags.ImplementationURL, *flags.ImplementationVersion, *flags.ImplementationContact,
		*flags.ImplementationAdditionalInformation)
	if err != nil {
		t.Fatal(err)
	}
	conformance, err := suite.NewConformanceProfileTestSuite(suite.ConformanceProfileOptions{
		Options:             options(t),
		Implementation:      *implementation,
		ConformanceProfiles: suite.ParseConformanceProfiles(string(suite.CNPConformanceProfileName)),
	})
	if err != nil {
		t.Fatal(err)
	}
	conformance.Setup(t)
	if err := conformance.Run(t, tests.ConformanceTests); err != nil {
		t.Fatal(err)
	}
	report, err := conformance.Report()
	if err != nil {
		t.Fatal(err)
	}
	text, err := yaml.Marshal(report)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(*flags.ReportOutput, text, 0o644); err != nil {
		t.Fatal(err)
	}
}
