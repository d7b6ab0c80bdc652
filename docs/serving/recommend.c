/* Asks an exported model for recommendations: TensorFlow's C library, no Python in the process.
 *
 *   recommend FOLDER OUTPUT K ID [ID ...]
 *
 * FOLDER is serving/ of a version. OUTPUT names the operation that computes the answer, which
 *   saved_model_cli show --dir FOLDER --tag_set serve --signature_def serving_default
 * prints before the colon. Prints K lines of id and score for the history, the oldest id first.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tensorflow/c/c_api.h>
#include <tensorflow/c/tf_tstring.h>

static void check(TF_Status* status, const char* what) {
  if (TF_GetCode(status) == TF_OK) return;
  fprintf(stderr, "%s: %s\n", what, TF_Message(status));
  exit(1);
}

static TF_Output operation(TF_Graph* graph, const char* name, int index) {
  TF_Output output = {TF_GraphOperationByName(graph, name), index};
  if (output.oper == NULL) {
    fprintf(stderr, "no operation %s\n", name);
    exit(1);
  }
  return output;
}

int main(int argc, char** argv) {
  if (argc < 5) {
    fprintf(stderr, "usage: %s FOLDER OUTPUT K ID [ID ...]\n", argv[0]);
    return 2;
  }
  TF_Status* status = TF_NewStatus();
  TF_Graph* graph = TF_NewGraph();
  TF_SessionOptions* options = TF_NewSessionOptions();
  const char* tags[] = {"serve"};
  TF_Session* session = TF_LoadSessionFromSavedModel(options, NULL, argv[1], tags, 1, graph, NULL, status);
  check(status, "load");

  /* Inputs that are left out have their defaults. Outputs are in the order of their names. */
  TF_Output inputs[] = {operation(graph, "serving_default_history", 0), operation(graph, "serving_default_k", 0)};
  TF_Output outputs[] = {operation(graph, argv[2], 0), operation(graph, argv[2], 1)};

  int text = TF_OperationOutputType(inputs[0]) == TF_STRING; /* else 64-bit integers */
  int64_t length = argc - 4, shape[] = {1, length};
  size_t size = length * (text ? sizeof(TF_TString) : sizeof(int64_t));
  TF_Tensor* history = TF_AllocateTensor(text ? TF_STRING : TF_INT64, shape, 2, size);
  for (int64_t i = 0; i < length; i++) {
    const char* id = argv[4 + i];
    if (text) {
      TF_TString* place = (TF_TString*)TF_TensorData(history) + i;
      TF_StringInit(place);
      TF_StringCopy(place, id, strlen(id));
    } else {
      ((int64_t*)TF_TensorData(history))[i] = strtoll(id, NULL, 10);
    }
  }
  TF_Tensor* k = TF_AllocateTensor(TF_INT32, NULL, 0, sizeof(int32_t));
  *(int32_t*)TF_TensorData(k) = atoi(argv[3]);

  TF_Tensor *given[] = {history, k}, *found[2];
  TF_SessionRun(session, NULL, inputs, given, 2, outputs, found, 2, NULL, 0, NULL, status);
  check(status, "run");

  const void* best = TF_TensorData(found[0]);
  const float* scores = TF_TensorData(found[1]);
  for (int64_t i = 0; i < TF_TensorElementCount(found[0]); i++) {
    if (text) {
      const TF_TString* id = (const TF_TString*)best + i;
      printf("%.*s\t%.6f\n", (int)TF_StringGetSize(id), TF_StringGetDataPointer(id), scores[i]);
    } else {
      printf("%lld\t%.6f\n", (long long)((const int64_t*)best)[i], scores[i]);
    }
  }
  TF_CloseSession(session, status);
  TF_DeleteSession(session, status);
  return 0;
}
